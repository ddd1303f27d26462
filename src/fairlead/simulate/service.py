"""What every dialect of the simulated engine shares: settings, the engine, and starting a generation."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from fairlead.errors import ContextWindowExceeded, InvalidRequest, ModelNotFound
from fairlead.simulate.engine import Engine, Latency, Limits
from fairlead.simulate.faults import Fault, FaultBook
from fairlead.simulate.metrics import Metrics
from fairlead.simulate.pump import Job, Pump
from fairlead.simulate.text import Ask, Reply, answer
from fairlead.simulate.times import TimesBook
from fairlead.simulate.tokens import block_hashes, tokenize

DialectName = Literal["openai", "anthropic", "gemini", "bedrock"]
MAX_CHOICES = 128

T = TypeVar("T")


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated engine. A model named `*` answers to every name."""

    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("simulated",)
    dialect: DialectName = "openai"
    latency: Latency = Latency()
    limits: Limits = Limits()
    responses: bool = False
    """Serve /v1/responses too."""
    per_request_metrics: bool = False
    """Add a `metrics` object to each answer, as vLLM's --enable-per-request-metrics does."""
    api_key: str | None = None
    """When set, requests must carry it."""
    embedding_dimensions: int = 384
    faults: tuple[Fault, ...] = ()
    keep_times: int = 0
    """For so many of the latest answers, keep when each token was sent: `GET /simulate/times`."""


def friendly_config(*models: str) -> EngineConfig:
    """An engine that is pleasant to look at: about 50 ms to the first token, then 100 tokens a second."""
    latency = Latency(base_s=0.0095, per_sequence_s=0.0005, per_prefill_token_s=0.00025)
    return EngineConfig(models=models or ("simulated",), latency=latency)


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the engine works on."""

    job: Job
    replies: tuple[Reply, ...]
    prompt_tokens: int
    id: str
    created: int
    model: str

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens from the prefix cache; known once the first token is there."""
        return self.job.progress[0].cached_tokens

    @property
    def output_tokens(self) -> int:
        return sum(len(reply.tokens) for reply in self.replies)

    @property
    def reasoning_tokens(self) -> int:
        return sum(reply.reasoning_tokens for reply in self.replies)

    def timings(self) -> dict[str, float]:
        """The first choice's times as vLLM reports them; valid once it has ended."""
        progress = self.job.progress[0]
        scheduled = progress.scheduled_at or 0.0
        first = progress.first_token_at or scheduled
        ended = progress.ended_at or first
        decode = ended - first
        gaps = progress.produced - 1
        return {
            "time_to_first_token_ms": (first - scheduled) * 1000,
            "generation_time_ms": decode * 1000,
            "queue_time_ms": (scheduled - progress.arrived_at) * 1000,
            "mean_itl_ms": decode * 1000 / gaps if gaps > 0 else 0.0,
            "tokens_per_second": gaps / decode if decode > 0 else 0.0,
        }


class Service:
    """The engine behind the HTTP surfaces."""

    def __init__(
        self,
        config: EngineConfig,
        loop: asyncio.AbstractEventLoop,
        faults_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.loop = loop
        self.engine = Engine(config.latency, config.limits)
        self.metrics = Metrics(config.models[0], self.engine)
        self.pump = Pump(self.engine, self.metrics, loop)
        self.faults = FaultBook(faults_changed)
        self.times = TimesBook(config.keep_times)
        self._serial = itertools.count()
        self._random = random.Random()  # noqa: S311 - ids and fault rolls of a simulator, not secrets
        for fault in config.faults:
            self.faults.install(fault, loop.time())

    def model(self, asked: str) -> str:
        """The name to answer under.

        Raises:
            ModelNotFound: this engine does not serve it.
        """
        if asked in self.config.models or ("*" in self.config.models and asked):
            return asked
        raise ModelNotFound(f"The model `{asked}` does not exist.", param="model")

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{self._random.getrandbits(96):024x}"

    def unix_time(self) -> int:
        return int(time.time())

    def fault_for(self, model: str) -> Fault | None:
        return self.faults.choose(model, self.loop.time(), self._random.random())

    def start(self, ask: Ask, *, model: str, id_prefix: str, choices: int = 1) -> Generation:
        """Plan the replies and hand them to the engine.

        Raises:
            ContextWindowExceeded: the prompt, or it and `max_tokens`, do not fit.
            InvalidRequest: an impossible number of choices.
        """
        if not 1 <= choices <= MAX_CHOICES:
            raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}, got {choices}.", param="n")
        tokens = tokenize(ask.prompt)
        prompt_tokens = max(1, len(tokens))
        room = self.engine.context_tokens - prompt_tokens
        if room < max(1, ask.max_tokens or 1):
            raise ContextWindowExceeded(
                f"This model's maximum context length is {self.engine.context_tokens} tokens. However, you "
                f"requested {prompt_tokens + (ask.max_tokens or 1)} tokens ({prompt_tokens} in the messages, "
                f"{ask.max_tokens or 1} in the completion). Please reduce the length of the messages or "
                "completion."
            )
        self.metrics.asked(choices, ask.max_tokens)
        limited = msgspec.structs.replace(ask, max_tokens=ask.max_tokens or room)
        if ask.max_tokens is None:
            limited = msgspec.structs.replace(limited, ignore_eos=False)
        replies = tuple(answer(limited, next(self._serial)) for _ in range(choices))
        hashes = block_hashes(tokens, self.config.limits.block_tokens)
        return Generation(
            job=self.pump.submit(prompt_tokens, hashes, replies),
            replies=replies,
            prompt_tokens=prompt_tokens,
            id=self.new_id(id_prefix),
            created=self.unix_time(),
            model=model,
        )


def decode(body: bytes, decoder: Callable[[bytes], T]) -> T:
    """Decode a JSON body.

    Raises:
        InvalidRequest: with `param` naming the field at fault.
    """
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message, param=path.strip("`.") or None) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error
