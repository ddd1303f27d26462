"""What `/metrics` answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from tests.unit.telemetry.records import record

from fairlead.net.run import Run
from fairlead.telemetry.metrics.exposition import OPENMETRICS, TEXT
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.scrape import Scrape
from fairlead.telemetry.metrics.siblings import Siblings


def test_one_worker_answers_for_itself_in_the_format_asked_for() -> None:
    async def main() -> None:
        metrics = Metrics()
        metrics.take([record()])
        scrape = Scrape(metrics.families)

        content_type, body = await scrape.answer()
        assert content_type == TEXT
        assert (
            b'fairlead_requests_total{model="small",endpoint="chat",outcome="ok",status_class="2xx"} 1\n'
            in body
        )
        assert b"fairlead_workers_missing" not in body

        content_type, body = await scrape.answer("application/openmetrics-text")
        assert content_type == OPENMETRICS
        assert body.endswith(b"# EOF\n")

    asyncio.run(main())


def test_several_workers_are_shown_as_one() -> None:
    async def main(directory: Path) -> None:
        metrics = [Metrics(), Metrics()]
        siblings = [
            Siblings(directory, worker=number, generation="g", families=one.families)
            for number, one in enumerate(metrics)
        ]
        for number, one in enumerate(siblings):
            await one.start()
            metrics[number].take([record()])

        _, body = await Scrape(metrics[0].families, siblings[0]).answer()

        assert b'status_class="2xx"} 2\n' in body
        assert b"fairlead_workers_missing 0\n" in body
        for one in siblings:
            await one.stop()

    directory = tempfile.mkdtemp(prefix="fl")
    asyncio.run(main(Path(directory)))
    shutil.rmtree(directory)


def test_a_request_that_is_no_task_can_ask() -> None:
    async def main() -> None:
        answers: list[tuple[str, bytes]] = []
        done = asyncio.Event()

        async def handle() -> None:
            answers.append(await Scrape(Metrics().families).answer())

        Run(handle(), lambda _run, _error: done.set()).start()
        await done.wait()
        assert answers[0][0] == TEXT

    asyncio.run(main())
