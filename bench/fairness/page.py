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
KV cache of 10,000 tokens; they are the same at every run and every machine.

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
  differs by at most twice the larger of a prompt and the tokens in flight times their weight.

What it does not do:

- Fairness is decided when a request is sent. What runs is not interrupted, so behind a burst of long
  answers even a quiet tenant waits until the first of them ends.
- Without metrics (`/metrics` of vLLM, SGLang, TGI or llama.cpp) the window is tuned from the time to first
  token. That costs a few percent of the capacity, more while it is being found: with answers of a minute,
  minutes.
- Each gateway process has queues of its own. It is fair among those who wait in it; between processes only
  the engine's capacity is shared, through its metrics.
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
