from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.opaque import native, seal, unseal


@given(st.text(min_size=1))
def test_what_is_sealed_is_unsealed_by_its_provider_only(value: str) -> None:
    sealed = seal("gemini", value)

    assert unseal("gemini", sealed) == value
    assert unseal("openai", sealed) is None
    assert native(sealed) is None


@given(st.binary())
def test_base64_is_native(value: bytes) -> None:
    text = base64.b64encode(value).decode()

    assert native(text) == text
    assert unseal("gemini", text) is None


def test_nothing_stays_nothing() -> None:
    assert native(None) is None
    assert unseal("gemini", None) is None
