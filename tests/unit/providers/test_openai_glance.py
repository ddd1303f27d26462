"""The quick reading of a whole answer tells what the full one does."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.openai_watch import _full_glance, _plain_glance, glance

COUNTS = st.integers(0, 10**6)
DETAILS = st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": COUNTS, "audio_tokens": COUNTS})
OUT = st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": COUNTS, "audio_tokens": COUNTS})


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    prompt, completion = draw(COUNTS), draw(COUNTS)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": draw(st.sampled_from([prompt + completion, prompt + completion + 7])),
        "prompt_tokens_details": draw(DETAILS),
        "completion_tokens_details": draw(OUT),
    } | draw(st.fixed_dictionaries({}, optional={"cached_tokens": COUNTS, "prompt_cache_hit_tokens": COUNTS}))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": draw(st.text(min_size=1))},
        "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls", "error", None])),
    }
    body = {"model": draw(st.text()), "choices": [choice], "usage": usage}
    return msgspec.json.encode(body)


@given(answers())
def test_both_readings_agree(body: bytes) -> None:
    quick = _plain_glance(body)
    full = _full_glance(body)
    if quick is not None:
        for name in ("model", "finish_reason", "usage", "failure", "ended", "chunks"):
            assert getattr(quick, name) == getattr(full, name), name


def test_what_is_not_plain_is_read_in_full() -> None:
    for body in (b"", b"[]", b'{"choices":[]}', b'{"error":{"message":"x"}}'):
        assert glance(body).failure is not None
