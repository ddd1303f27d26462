import pytest
from bench.gateway import report
from bench.gateway.results import Floor, Machine, Run, Sample, Spread, floors, remarks


def run_of(*samples: Sample, load_before: float = 0.1) -> Run:
    return Run(
        command="python -m bench.gateway",
        measured_on="2030-01-01",
        machine=Machine(cpu="A CPU", cores=2, kernel="6.1", python="3.11.0", load_before=load_before),
        versions={"nginx": "1.2", "direct": ""},
        missing={"litellm": "not installed"},
        settings={"rounds": 3.0},
        samples=list(samples),
    )


def samples(contestant: str, *rates: float, **more: float) -> list[Sample]:
    return [
        Sample(
            scenario="unary-64",
            contestant=contestant,
            round=number,
            values={"requests_per_s": rate, "errors": 0.0, **more},
        )
        for number, rate in enumerate(rates)
    ]


def promise(run: Run, what: str) -> Floor:
    return next(floor for floor in floors(run) if floor.what == what)


def test_a_ratio_is_made_within_each_round() -> None:
    # The machine was twice as fast in the second round; the ratio must not see it.
    run = run_of(*samples("nginx", 100, 200, 100), *samples("fairlead", 50, 100, 60))

    assert run.ratio("unary-64", "requests_per_s", "fairlead") == Spread(0.5, 0.5, 0.6)


def test_a_round_that_the_base_did_not_take_part_in_is_left_out() -> None:
    run = run_of(*samples("nginx", 100), *samples("fairlead", 50, 10))

    assert run.ratio("unary-64", "requests_per_s", "fairlead") == Spread(0.5, 0.5, 0.5)
    assert run.ratio("unary-64", "requests_per_s", "fairlead", "litellm") is None


@pytest.mark.parametrize(("rate", "met"), [(46, True), (45, True), (44, False)])
def test_a_floor_is_kept_by_its_median(rate: float, met: bool) -> None:
    run = run_of(*samples("nginx", 100, 100, 100), *samples("fairlead", 10, rate, 90))

    assert promise(run, "unary, 64 clients, x nginx").met is met


def test_what_was_not_measured_is_neither_kept_nor_broken() -> None:
    assert all(floor.met is None for floor in floors(run_of(*samples("nginx", 100))))


def test_latency_is_what_comes_on_top_of_the_reference() -> None:
    run = run_of(
        Sample(scenario="latency-1", contestant="nginx", round=0, values={"p50_us": 120.0}),
        Sample(scenario="latency-1", contestant="fairlead", round=0, values={"p50_us": 150.0}),
    )

    floor = promise(run, "p50 over nginx at 1 client, ms")
    assert floor.measured is not None
    assert floor.measured.median == pytest.approx(0.03)
    assert floor.met is True


def test_a_calm_machine_gives_no_reason_for_doubt() -> None:
    assert remarks(run_of(*samples("nginx", 100, 101), *samples("fairlead", 50, 51))) == []


def test_noise_and_errors_are_named() -> None:
    run = run_of(
        *samples("nginx", 100, 100, foreign_percent=12.0),
        *samples("fairlead", 50, 80),
        *samples("portkey", 5, errors=3.0),
        load_before=2.5,
    )

    doubts = "\n".join(remarks(run))
    assert "load average was 2.5" in doubts
    assert "other processes took up to 12 %" in doubts
    assert "ratio of fairlead varied by 46 %" in doubts
    assert "portkey gave 3 errors" in doubts


def test_the_page_has_the_command_the_machine_and_every_figure() -> None:
    run = run_of(*samples("nginx", 1000, cpu_us=10.0), *samples("fairlead", 500, cpu_us=25.0))

    page = report.page(run)
    assert "$ python -m bench.gateway\n" in page
    assert "A CPU, 2 cores, Linux 6.1, Python 3.11.0" in page
    assert "nginx 1.2" in page
    row = next(line for line in page.splitlines() if line.startswith("| fairlead"))
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["500", "0.50", "25.0", "2.50"]


def test_a_terminal_is_told_who_did_not_take_part() -> None:
    assert "without litellm: not installed" in report.text(run_of(*samples("nginx", 1)))
