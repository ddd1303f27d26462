from __future__ import annotations

from pathlib import Path

from bench.vault.report import OTHERS, Figures, promises, write_section

GB = 10**9


def figures(sealed_s: float) -> Figures:
    made = Figures(size_bytes=GB, rounds=1, versions={"cp": "9.1"})
    for job in ("seal", "seal_cpu"):
        for name, seconds in {"cp": 0.5, "fairlead": sealed_s, "fairlead, no digest": 0.5}.items():
            made.add(job, name, seconds)
    for job in ("open", "open_cpu"):
        made.add(job, "fairlead, 1 thread", 0.1)
    made.memory = {"memcpy": 12e9, "sha256": 1.8e9}
    made.rss_mib = {"seal": 40, "open": 20}
    return made


def test_promises_are_held_against_what_was_measured() -> None:
    kept = [promise.kept for promise in promises(figures(0.6))]
    broken = [promise.kept for promise in promises(figures(0.7))]

    assert kept == [True, True, True, True]
    assert broken == [True, False, True, True]


def test_the_section_is_renewed_and_the_rest_of_the_page_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nof the gateway\n")
    write_section(figures(0.6), page)
    first = page.read_text()
    page.write_text(f"{first}\n### Another\n")
    write_section(figures(0.7), page)
    second = page.read_text()

    assert first.startswith(f"# Benchmarks\n\nof the gateway\n{OTHERS}\n")
    assert "| seal with SHA-256 of the plaintext, x `cp` | >= 0.8 | 0.83 | yes |" in first
    assert "| seal with SHA-256 of the plaintext, x `cp` | >= 0.8 | 0.71 | **no** |" in second
    assert second.count("### The vault") == 1
    assert second.endswith("\n### Another\n")
