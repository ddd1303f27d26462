"""Writes docs/vault-ingest.md from the ingest gate's rules: `python scripts/ingest_page.py`.

The page is part of the repository and a test compares the two, so that no rule
is added without its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairlead.vault.ingest.rules import RULES, Rule

PAGE: Final = Path(__file__).parents[1] / "docs" / "vault-ingest.md"

_INTRODUCTION: Final = """\
# What the vault lets in

<!-- Written by scripts/ingest_page.py from src/fairlead/vault/ingest/rules.py; do not edit. -->

Before a file is sealed, the ingest gate looks at it. The gate lets in what it knows to be harmless; it does
not look for what is known to be bad. The kind of a file is decided by its content, never by its name.

| Kind | What is checked |
|---|---|
| safetensors, GGUF | the whole header: counts, types, offsets, no gap, no overlap; chat templates |
| npy, npz | header, length; archives member by member |
| ONNX | every field; operator domains; external tensors only beside the model |
| PyTorch checkpoints, zip or older | the archive; the pickle, step by step; storages and views |
| pickles, joblib | instructions, names, arguments; plain data and numpy arrays pass |
| JSON, YAML, text, templates | keys and tags that make a loader run code; templates token by token |
| SentencePiece, PNG, JPEG, GIF | structure to the last byte |
| compressed files (gzip, bzip2, xz, zlib) | unpacked within bounds; the content is inspected |
| anything else | refused |

Each file gets one of three decisions:

- **accepted**: nothing against it.
- **quarantined**: known to be able to run code, or not fully readable. Somebody may approve it.
- **refused**: final. There is no switch that lets it in.

An approval names a rule, the SHA-256 of the exact bytes, who gives it and why. It counts for that rule on
those bytes only; a file with findings of two rules needs two approvals.

The inspection runs in a process of its own with bounded memory, processor time, descriptors and wall time,
without child processes, without a network where the kernel allows that, and without writing. If it crashes,
is killed, takes too long or answers nonsense, the file is refused. The verdict carries the SHA-256 of what
was inspected; what is sealed must have it too.

A plain PyTorch checkpoint can be converted to safetensors by the gate. Nothing is unpickled for that, PyTorch
is not needed, and every tensor is read back and compared.

"""

_LIMITS: Final = """
## What it does not do

- It does not judge what a model answers. A model that was trained to do harm is a matter of evaluation.
- Parquet, Arrow and HDF5 are recognised, not read: they are quarantined.
- tar, zip (other than arrays and checkpoints), 7z, zstd and others are not opened: unpack them first.
- A class of the author's own in a pickle is refused, not quarantined: nothing about it can be known.
- Images are checked for their frame only; decoders may still have errors.
"""


def ingest_page() -> str:
    """The page as Markdown."""
    held = {name: rule for name, rule in RULES.items() if not rule.refuses}
    final = {name: rule for name, rule in RULES.items() if rule.refuses}
    return (
        _INTRODUCTION
        + "## Rules that quarantine\n\nThese can be approved by their name.\n\n"
        + _table(held)
        + "\n## Rules that refuse\n\n"
        + _table(final)
        + _LIMITS
    )


def _table(rules: dict[str, Rule]) -> str:
    head = "| Rule | Stops | What to do |\n|---|---|---|\n"
    return head + "".join(
        f"| `{name}` | {rule.stops} | {rule.remedy} |\n" for name, rule in sorted(rules.items())
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(ingest_page())


if __name__ == "__main__":
    main()
