"""docs/vault-format.md names the constants that the code has. Its example runs in tests/e2e/test_docs.py."""

from __future__ import annotations

from pathlib import Path

from fairlead.vault import chunk_index, chunks, context, floe

PAGE = (Path(__file__).parents[3] / "docs" / "vault-format.md").read_text()


def test_the_page_has_the_codes_numbers() -> None:
    assert f"{floe.VAULT.segment_bytes:,}" in PAGE
    assert f"{floe.VAULT.plain_bytes:,}" in PAGE
    encoded = floe.VAULT.encoded().hex()
    assert f"params  = {encoded[:2]} {encoded[2:4]} {encoded[4:12]} {encoded[12:]}\n" in PAGE
    assert floe.VAULT.rotation_bits == 20
    for text in (context.DOMAIN, chunk_index.INDEX_MAGIC.strip(), chunks._ID, chunks._NAME, chunks._AAD):
        assert f'"{text.decode()}' in PAGE
    assert chunk_index.REFERENCES_HEAD in PAGE
    for purpose in context.Purpose:
        assert f"| `{purpose}` |" in PAGE
