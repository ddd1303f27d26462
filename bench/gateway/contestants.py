"""The proxies that are compared: how each is started, and how it is asked.

Every one answers the same request with the same bytes from the same upstream,
on the same core. Before it is measured an answer of it is read and compared:
what does not work is not fast, it is wrong.

The peers are not a part of this repository: `install` gets their current
versions from their package registries into bench/.cache/.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.gateway.processes import GATEWAY_CPU, Pinned
from bench.gateway.programs import CACHE, BenchError

MODES: Final = ("unary", "stream", "events", "paced")
"""How the upstream answers; the model's name, or the first part of the path."""

CHUNKS: Final = 50

_GATEWAY_CORE: Final = frozenset((GATEWAY_CPU,))
_READY_S: Final = 120.0
_BANNER_S: Final = 20.0
_QUESTION: Final = "y" * 400
_KEY: Final = "sk-bench-0123456789abcdef"

_LITELLM: Final = CACHE / "litellm" / "bin" / "litellm"
_PORTKEY: Final = CACHE / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
_PORTKEY_PACKAGE: Final = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "latest"},
    # With later ones every stream is a 500 (Portkey-AI/gateway, issue 1389).
    "overrides": {"@hono/node-server": "1.14.1"},
}


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """One that is running and can be asked."""

    name: str
    port: int
    version: str
    process: Pinned | None = None
    """None for the upstream itself."""
    by_path: bool = False
    """The upstream's own paths are asked for; else the model's name decides."""
    headers: Mapping[str, str] = {}
    custom_host: str | None = None
    """Where the upstream is, for one that is told with each request."""
    warmup_s: float = 0.3

    def fields(self, mode: str) -> dict[str, str]:
        """The header fields of a request in `mode`."""
        fields = {"content-type": "application/json", **self.headers}
        if self.custom_host is not None:
            fields["x-portkey-custom-host"] = f"{self.custom_host}/{mode}/v1"
        return fields

    def path(self, mode: str) -> str:
        """Where a request in `mode` goes."""
        return f"/{mode}/v1/chat/completions" if self.by_path else "/v1/chat/completions"

    def request(self, mode: str) -> bytes:
        """A whole request, as it is sent again and again."""
        body = question(mode)
        fields = {"host": "127.0.0.1", **self.fields(mode), "content-length": str(len(body))}
        lines = [f"POST {self.path(mode)} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def question(mode: str) -> bytes:
    """The body of a request: an ordinary small one."""
    body: dict[str, object] = {
        "model": mode,
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": _QUESTION},
        ],
        "max_tokens": 200,
        "temperature": 0.7,
    }
    if mode != "unary":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


# --- starting -----------------------------------------------------------------------------------


def direct(upstream: int, _directory: Path) -> Contestant:
    """No gateway at all."""
    return Contestant(name="direct", port=upstream, version="", by_path=True)


def nginx(upstream: int, directory: Path) -> Contestant:
    """Nginx as a plain reverse proxy, with kept-alive connections to the upstream."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise BenchError("nginx is not installed; it is the reference")
    port = free_port()
    place = directory / "nginx"
    place.mkdir()
    file = place / "nginx.conf"
    file.write_text(_nginx_conf(place, port, upstream))
    command = [program, "-p", str(place), "-c", str(file), "-e", str(place / "errors")]
    process = Pinned(command, _GATEWAY_CORE, log=place / "stderr")
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return Contestant(
        name="nginx", port=port, version=version.strip().rpartition("/")[2], process=process, by_path=True
    )


def _nginx_conf(place: Path, port: int, upstream: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"  {name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {place}/pid;
events {{ worker_connections 8192; }}
http {{
{temporary}
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  upstream model {{
    server 127.0.0.1:{upstream};
    keepalive 4096;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    tcp_nodelay on;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def fairlead(upstream: int, directory: Path) -> Contestant:
    """Fairlead as it is by default: key check, routing, ledger and metrics are on."""
    return start_fairlead(upstream, directory / "fairlead")


def start_fairlead(
    upstream: int,
    place: Path,
    *,
    cpus: frozenset[int] = _GATEWAY_CORE,
    workers: int = 1,
    name: str = "fairlead",
    config: str = "",
    model: str = "",
) -> Contestant:
    """Start a gateway with a fresh state directory, and wait until it says that it is ready.

    `config` is added to its configuration, and `model` to each of its models.
    """
    place.mkdir()
    file = place / "fairlead.yaml"
    providers, models = [], []
    for mode in MODES:
        # Two targets for each model, so that there is something to choose.
        for side in ("a", "b"):
            url = f"http://127.0.0.1:{upstream}/{mode}/v1"
            providers.append(
                f'  {mode}-{side}: {{type: openai-compatible, base_url: "{url}", max_connections: 4096}}'
            )
        models.append(f"  {mode}: {{targets: [{{provider: {mode}-a}}, {{provider: {mode}-b}}]{model}}}")
    file.write_text("\n".join(["providers:", *providers, "models:", *models, config, ""]))
    command = [sys.executable, "-m", "fairlead", "serve", "--config", str(file)]
    command += ["--state", str(place / "state"), "--port", "0", "--workers", str(workers)]
    process = Pinned(command, cpus, log=place / "stderr")
    said = ""
    while line := process.line(_BANNER_S):
        said += line
        if "try it" in line:
            break
    port = re.search(r"http://127\.0\.0\.1:(\d+)/v1", said)
    key = re.search(r"API key +(\S+)", said)
    version = re.search(r"Fairlead (\S+)", said)
    if port is None or key is None or version is None:
        process.stop()
        raise BenchError(f"fairlead did not start: {(place / 'stderr').read_text()[-2000:]}")
    return Contestant(
        name=name,
        port=int(port[1]),
        version=version[1],
        process=process,
        headers={"authorization": f"Bearer {key[1]}"},
    )


def litellm(upstream: int, directory: Path) -> Contestant:
    """LiteLLM's proxy with one worker and its key check; no database."""
    if not _LITELLM.exists():
        raise BenchError("LiteLLM is not installed; --install gets it")
    port = free_port()
    place = directory / "litellm"
    place.mkdir()
    models = [
        {
            "model_name": mode,
            "litellm_params": {
                "model": f"openai/{mode}",
                "api_base": f"http://127.0.0.1:{upstream}/{mode}/v1",
                "api_key": _KEY,
            },
        }
        for mode in MODES
    ]
    file = place / "config.yaml"
    file.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": _KEY}}))
    command = [str(_LITELLM), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    process = Pinned(
        [*command, "--num_workers", "1", "--telemetry", "False"],
        _GATEWAY_CORE,
        # The map of prices that it ships, so that nothing is fetched; log lines for errors only.
        environ={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        stdout=subprocess.DEVNULL,
        log=place / "stderr",
    )
    return Contestant(
        name="litellm",
        port=port,
        version=_litellm_version(),
        process=process,
        headers={"authorization": f"Bearer {_KEY}"},
        warmup_s=2.0,
    )


def portkey(upstream: int, directory: Path) -> Contestant:
    """Portkey's gateway under Node.js. It checks no keys."""
    node = shutil.which("node")
    if node is None or not _PORTKEY.exists():
        raise BenchError("Portkey's gateway or Node.js is not installed; --install gets the former")
    port = free_port()
    place = directory / "portkey"
    place.mkdir()
    process = Pinned(
        [node, str(_PORTKEY / "build" / "start-server.js"), f"--port={port}", "--headless"],
        _GATEWAY_CORE,
        environ={"NODE_ENV": "production"},
        stdout=subprocess.DEVNULL,
        log=place / "stderr",
    )
    return Contestant(
        name="portkey",
        port=port,
        version=json.loads((_PORTKEY / "package.json").read_text())["version"],
        process=process,
        headers={"x-portkey-provider": "openai", "authorization": f"Bearer {_KEY}"},
        custom_host=f"http://127.0.0.1:{upstream}",
        warmup_s=1.0,
    )


STARTERS: Final[Mapping[str, Callable[[int, Path], Contestant]]] = {
    "direct": direct,
    "nginx": nginx,
    "fairlead": fairlead,
    "portkey": portkey,
    "litellm": litellm,
}


def install() -> None:
    """Get the peers' current versions into the cache; nothing is installed elsewhere."""
    CACHE.mkdir(exist_ok=True)
    place = CACHE / "litellm"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run([place / "bin" / "pip", "install", "--quiet", "--upgrade", "litellm[proxy]"], check=True)
    place = CACHE / "portkey"
    place.mkdir(exist_ok=True)
    (place / "package.json").write_text(json.dumps(_PORTKEY_PACKAGE))
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("npm is not in PATH")
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--prefix", place], check=True)


def _litellm_version() -> str:
    found = sorted((CACHE / "litellm").glob("lib/python*/site-packages/litellm-*.dist-info"))
    return found[-1].name.removeprefix("litellm-").removesuffix(".dist-info") if found else ""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- verifying ----------------------------------------------------------------------------------


def verify(contestant: Contestant, modes: tuple[str, ...] = ("unary", "stream", "events")) -> None:
    """Wait until it answers, and read one answer in each mode.

    Raises:
        BenchError: it does not answer in time, or not with what the upstream sent.
    """
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            status, _ = _ask(contestant, "unary")
            if status == 200 or time.monotonic() > deadline:
                break
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchError(f"{contestant.name} cannot be reached") from error
        if contestant.process is not None and contestant.process.process.poll() is not None:
            raise BenchError(f"{contestant.name} has ended")
        time.sleep(0.05)
    for mode in modes:
        status, body = _ask(contestant, mode)
        said = _content(mode, body) if status == 200 else ""
        if said != ("x" * 700 if mode == "unary" else "token " * CHUNKS):
            raise BenchError(f"{contestant.name} answers {mode} wrongly: {status} {body[:500]!r}")


def _ask(contestant: Contestant, mode: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", contestant.port, timeout=30)
    try:
        connection.request("POST", contestant.path(mode), question(mode), contestant.fields(mode))
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise BenchError(f"{contestant.name} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()


def _content(mode: str, body: bytes) -> str:
    """The text of an answer; empty when it is not complete."""
    if mode == "unary":
        return str(json.loads(body)["choices"][0]["message"]["content"])
    text, finish = "", None
    *events, last = [line for line in body.decode().splitlines() if line.startswith("data:")]
    for event in events:
        for choice in json.loads(event.removeprefix("data:"))["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
    return text if finish == "stop" and last.strip() == "data: [DONE]" else ""
