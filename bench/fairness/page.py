"""docs/fairness.md: the tables that `fairlead simulate fairness` prints, and what to read in them."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.limits.simulate_report import LEGEND, Row, promises, verdict
from fairlead.limits.simulate_workloads import WORKLOADS, Workload

_HEAD = """\
# Fair queueing

One runaway pipeline must not starve the rest. Where a target's capacity is finite (an engine of your own,
or a provider's rate limit), requests wait in Fairlead and not in the target, and each tenant gets its
share of the tokens: `weight` in its section of `tenants`, over its siblings that want something too. What
somebody does not use is everybody's; a tenant below its share hardly waits.

This page is written by `python -m bench.fairness --write-docs`. Its tables are simulations of published
workloads (Sheng et al., "Fairness in Serving Large Language Models", 2024) on a simulated engine with a
KV cache of 10,000 tokens, the same at every run and every machine; but for the one under
[On real processes](#on-real-processes).

"""

_OVERLOAD = """\
Two clients want 1.5 and 3 requests a second of an engine that can do 2.2. First come, first served gives
the louder one twice as much. Refusing by a rate limit is fair and throws two thirds of the engine away.
Fairlead (`gateway, tuned`) is fair and as fast as first come, first served, although it does not own the
engine's batch:
"""

_FLOOD = """\
A client of one request in two seconds, beside one that sends sixteen times as many:
"""

_REST = """\
The other workloads, in one go:

```text
$ fairlead simulate fairness
"""

_TAIL = """\
```

Read in them:

- Where every client wants more than its share (`overload-multi`, `overload-weighted`), service is equal
  over weight. Where some want less, they get it and hardly wait (`proportional`, `on_off_less`,
  `increase`, `dist_shift`).
- Under `poisson_short_long` first come, first served serves more tokens, because it serves other
  requests: more of the short ones.
- A window of half the engine's capacity (`gateway, half window`) wastes 40 % of it. The tuned one finds
  the capacity from the engine's metrics: a request or two in the engine's own queue, and no more.
- The bound that is kept and tested: between two clients that wait all the time, the service over weight
  differs by at most twice the larger of a prompt and the tokens in flight times their weight, and by the
  credit of 5,000 weighted tokens that whoever was idle may have saved up.

## On real processes

`python -m bench.fairness --live` (and `tests/e2e/limits/test_live_fairness.py`, which fails above 20 %)
measures the same over HTTP: gateways as users run them, each in front of a simulated engine that runs 32
requests at once, a step of 8 to 11 ms, 2,500 prompt tokens a second. A quiet tenant sends two requests of
450 tokens a second at random moments, and another one has two hundred requests open at any moment, six times
what the engine runs at once. Measured on two cores:

```text
$ python -m bench.fairness --live
2 requests a second beside 200 open ones; 36 s, seconds to first token.

the quiet tenant           requests  lost     p50     p90     p99  flood served/s
alone                           200     0   0.194   0.397   0.742             0.0
beside a flood                  200     0   0.259   0.463   0.744            34.4
first come, first served         56     0   5.084   5.630   5.843            36.0

p99 to first token beside the flood: +0.2%
```

Three runs gave +0.2 %, +3.6 % and +18 %: it is the third-slowest of two hundred requests.

- The 99th percentile is what requests of the quiet tenant wait for each other when several come together.
  Without the credit the second would wait until everybody had as much service as the first; the 99th
  percentile then rose by 123 %.
- The median rises by a third. That cannot be avoided where the batch is not ours and nothing that runs is
  interrupted: a place in the batch becomes free with the next answer that ends, the engine has a request or
  two in its own queue, and steps of a full batch are longer. Those are some four steps of the engine, however
  long the prompt is: much for a short prompt, little for a long one.
- The first ten seconds are not in the table. While the window is being found, at the first load after a
  start, it is once up to twice too large, and everybody waits a second or two for that.

## Several gateways

Each gateway process has queues of its own. With `limits.store: redis`, which several need for their
limits anyway, they tell each other five times a second who was served how much, one round trip for each
process, and every queue counts that as if it had served it.

- Between two tenants that wait at all gateways the service over weight differs by no more than in one
  queue, and what the target serves in two of these intervals (0.4 s): an engine of 2,000 tokens a second
  adds 800 tokens, times their weight. `tests/unit/limits/test_gossip.py` checks it for any order of
  events.
- A tenant behind some of the gateways only is made up for by those, as far as their part of the target
  goes.
- While Redis is away each gateway is fair among those who wait in it, and nothing else changes. What was
  served meanwhile is not told afterwards, but for the last seconds.
- Windows are not divided by anybody. Each gateway tunes its own from the engine's metrics, which show the
  requests of all: together they are what the engine can run and a request or two more, whatever the
  number of gateways. The parts differ; who was there first may have more. Without metrics each tunes by
  latency, which all of them make.
- `max_concurrency` is a cap for each process: with four of them a target may get four times as many.

What it does not do:

- Fairness is decided when a request is sent. What runs is not interrupted, so behind a burst of long
  answers even a quiet tenant waits until the first of them ends.
- Without metrics (`/metrics` of vLLM, SGLang, TGI or llama.cpp) the window is tuned from the time to
  first token. That costs a few percent of the capacity, more while it is being found: with answers of a
  minute, minutes.
"""


def page(found: Sequence[Row], tables: dict[str, str]) -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for name, text in (("overload", _OVERLOAD), ("flood", _FLOOD)):
        rows = [row for row in found if row.workload == name]
        command = f"$ fairlead simulate fairness --workload {name}"
        output = f"{tables[name]}\n{LEGEND}\n{verdict(promises(rows))}"
        parts.append(f"## {_title(WORKLOADS[name])}\n\n{text}\n```console\n{command}\n{output}```\n\n")
    others = "\n".join(text for name, text in tables.items() if name not in ("overload", "flood"))
    parts.append(f"## Other workloads\n\n{_REST}{others}{_TAIL}")
    return "".join(parts)


def _title(workload: Workload) -> str:
    return workload.about.split(";")[0].rstrip(".")
