"use strict";

const field = document.getElementById("key");
const message = document.getElementById("message");
let key = "";
let timer = 0;

async function get(path) {
  const answer = await fetch(path, { headers: { authorization: `Bearer ${key}` } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ? body.error.message : `status ${answer.status}`);
  return body.data;
}

function row(cells) {
  const tr = document.createElement("tr");
  for (const [text, name] of cells) {
    const td = document.createElement("td");
    td.textContent = text;
    if (name) td.className = name;
    tr.append(td);
  }
  return tr;
}

const ms = (seconds) => (seconds ? `${Math.round(seconds * 1000)} ms` : "–");
const stateClass = { closed: "good", half_open: "warn", open: "bad" };
const outcomeClass = { ok: "good", client_gone: "warn", refused: "warn", upstream_refused: "warn" };

async function refresh() {
  try {
    const [targets, requests] = await Promise.all([
      get("/admin/v1/targets"),
      get("/admin/v1/requests?limit=20"),
    ]);
    document.getElementById("targets").replaceChildren(...targets.map((t) => row([
      [t.target], [t.state.replace("_", " "), stateClass[t.state]], [String(t.in_flight), "n"],
      [ms(t.latency_ms / 1000), "n"], [t.last_failure ? t.last_failure.message : ""],
    ])));
    document.getElementById("requests").replaceChildren(...requests.map((r) => row([
      [new Date(r.started_at * 1000).toLocaleTimeString()], [r.model], [r.target],
      [r.outcome.replace("_", " "), outcomeClass[r.outcome] || "bad"],
      [`${r.input_tokens} / ${r.output_tokens}`, "n"], [ms(r.first_token_s), "n"], [ms(r.duration_s), "n"],
    ])));
    document.getElementById("targets-section").hidden = false;
    document.getElementById("requests-section").hidden = false;
    message.textContent = "";
  } catch (error) {
    message.textContent = error.message;
  }
}

document.getElementById("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  key = field.value.trim();
  clearInterval(timer);
  timer = setInterval(refresh, 2000);
  refresh();
});
