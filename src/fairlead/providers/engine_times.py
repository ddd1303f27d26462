"""What engines tell of their own work in an answer, under their many names.

* vLLM (`--enable-per-request-metrics`): `metrics`, in milliseconds. Its time to
  first token starts when the request is scheduled, so the queue comes on top;
* llama.cpp: `timings`, in milliseconds; it has no queue of its own to tell of;
* Ollama: `load_duration` and the like, in nanoseconds;
* Groq: in `usage`, Cerebras: in `time_info`, both in seconds;
* TGI: response headers of whole answers, in milliseconds. It does not tell
  prefill from decode, so both count as decode.

Times are told beside an answer that is otherwise whole: what cannot be read
is as if it were not there, and never an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from fairlead.providers.raw import NOTHING
from fairlead.types import EngineTimes

_LONGEST_S: Final = 1e6


class _Vllm(msgspec.Struct, frozen=True, kw_only=True):
    time_to_first_token_ms: float | None = None
    generation_time_ms: float | None = None
    queue_time_ms: float | None = None


class _LlamaCpp(msgspec.Struct, frozen=True, kw_only=True):
    prompt_ms: float | None = None
    predicted_ms: float | None = None


class _Spans(msgspec.Struct, frozen=True, kw_only=True):
    queue_time: float | None = None
    prompt_time: float | None = None
    completion_time: float | None = None


class _Groq(msgspec.Struct, frozen=True, kw_only=True):
    usage: _Spans | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, or one event of one, as far as it tells times."""

    metrics: _Vllm | None = None
    timings: _LlamaCpp | None = None
    time_info: _Spans | None = None
    usage: _Spans | None = None
    x_groq: _Groq | None = None
    load_duration: float | None = None
    prompt_eval_duration: float | None = None
    eval_duration: float | None = None


_DECODER: Final = msgspec.json.Decoder(_Answer)


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """For an answer's struct to inherit: is there anything that `read` could read?

    Costs next to nothing where the answer is decoded anyway; a search through its bytes would cost as
    much as decoding it.
    """

    metrics: msgspec.Raw = NOTHING
    timings: msgspec.Raw = NOTHING
    time_info: msgspec.Raw = NOTHING
    eval_duration: msgspec.Raw = NOTHING

    @property
    def timed(self) -> bool:
        """The answer seems to tell times."""
        return (
            self.metrics is not NOTHING
            or self.timings is not NOTHING
            or self.time_info is not NOTHING
            or self.eval_duration is not NOTHING
        )


def in_headers(headers: Mapping[bytes, bytes]) -> EngineTimes | None:
    """The times in TGI's response headers; None when there are none."""
    inference = _header_s(headers.get(b"x-inference-time"))
    if inference is None:
        return None
    return EngineTimes(queue_s=_header_s(headers.get(b"x-queue-time")), decode_s=inference)


def read(data: bytes) -> EngineTimes | None:
    """The times in a whole answer, or in one event of a stream, given as JSON; None when it tells none."""
    try:
        answer = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    vllm, llama = answer.metrics, answer.timings
    if vllm is not None:
        return _times(vllm.queue_time_ms, vllm.time_to_first_token_ms, vllm.generation_time_ms, 1e-3)
    if llama is not None:
        return _times(None, llama.prompt_ms, llama.predicted_ms, 1e-3)
    groq = answer.x_groq
    spans = answer.time_info or answer.usage or (groq.usage if groq is not None else None)
    if spans is not None and (times := _times(spans.queue_time, spans.prompt_time, spans.completion_time)):
        return times
    # Ollama loads a model when it is asked for: to the request that is one more queue.
    return _times(answer.load_duration, answer.prompt_eval_duration, answer.eval_duration, 1e-9)


def _times(
    queue: float | None, prefill: float | None, decode: float | None, unit_s: float = 1.0
) -> EngineTimes | None:
    found = (_sane(queue, unit_s), _sane(prefill, unit_s), _sane(decode, unit_s))
    if found[1] is None and found[2] is None:
        return None
    return EngineTimes(queue_s=found[0], prefill_s=found[1], decode_s=found[2])


def _sane(value: float | None, unit_s: float) -> float | None:
    if value is None:
        return None
    seconds = value * unit_s
    return seconds if math.isfinite(seconds) and 0.0 <= seconds < _LONGEST_S else None


def _header_s(value: bytes | None) -> float | None:
    try:
        return _sane(float(value), 1e-3) if value is not None else None
    except ValueError:
        return None
