"""What the simulated model answers.

An `Ask` is a request in no dialect; `answer` plans the whole reply as tokens
before the first one is due, so that the engine only has to pace it. The words
are seeded by a digest of the request: at temperature 0, or with a seed, the
same request gets the same answer; otherwise `roll` makes it vary.

A tool is called when the request forces one or its last user message contains
`use the tool` (`use the tools`: all of them, up to three), unless the last
message is a tool's result. A JSON format gives JSON that fits its schema. A
prompt that says `say exactly: TEXT` gets TEXT.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Literal

import msgspec

from fairlead.simulate.schema import JsonValue, generate
from fairlead.simulate.tokens import tokenize

MAX_DRAWN_TOKENS = 160
_OPENINGS = (
    "Good question.", "Here is a short answer.", "Let me think about that.", "In brief:", "Certainly.",
    "There are a few sides to this.",
)  # fmt: skip
_SUBJECTS = (
    "the harbour", "a careful plan", "the simplest approach", "most of the work", "the second option",
    "a good test", "the weather", "every measurement", "the usual method", "a small change", "the team",
    "this idea", "the old bridge", "a quiet river", "the first draft", "the schedule",
)  # fmt: skip
_VERBS = (
    "depends on", "follows", "improves", "explains", "comes before", "rests on", "leads to", "outlives",
    "supports", "replaces", "reaches", "protects",
)  # fmt: skip
_OBJECTS = (
    "the details", "a clear goal", "what came before", "the people involved", "its own limits",
    "a longer view", "the available time", "good light", "the next step", "a steady rhythm",
    "the whole picture", "fresh evidence", "plain words", "the far shore",
)  # fmt: skip
_JOINTS = (".", ".", ".", ", and", ", so", "; after that")
_THOUGHTS = ("First I read the question again.", "Then I weigh the options.", "That seems consistent.")
_EXACTLY = re.compile(r"say exactly:\s*(.+)", re.IGNORECASE | re.DOTALL)
_USE_TOOL = re.compile(r"use the tool(s)?\b", re.IGNORECASE)
_PLAIN_OBJECT: JsonValue = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number", "maximum": 1}},
    "required": ["answer", "confidence"],
}


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    parameters: JsonValue = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request in no dialect: what shapes the answer, and nothing else."""

    prompt: str
    """The whole prompt as text, for counting, caching and the digest."""
    question: str = ""
    """The last user message's text."""
    after_tool: bool = False
    """The last message is a tool's result."""
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    """Answer with exactly `max_tokens` tokens, as benchmarks ask for."""
    temperature: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_mode: Literal["auto", "none", "required"] = "auto"
    tool_name: str | None = None
    parallel_tools: bool = True
    output: Literal["text", "json", "choice"] = "text"
    schema: JsonValue = None
    choices: tuple[str, ...] = ()
    think: bool = False


class Token(msgspec.Struct, frozen=True):
    """One token of an answer. `call` is the index of the tool call it belongs to."""

    kind: Literal["reasoning", "text", "tool"]
    text: str
    call: int = 0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    arguments: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A planned answer: its tokens in order, and how it ends."""

    tokens: tuple[Token, ...]
    finish: Literal["stop", "length", "tool_calls"]
    calls: tuple[Call, ...] = ()
    stop: str | None = None
    """The stop sequence that ended it."""

    def joined(self, kind: Literal["reasoning", "text"]) -> str:
        return "".join(token.text for token in self.tokens if token.kind == kind)

    def arguments(self, call: int) -> str:
        """What was generated of a call's arguments; less than all of it when cut by length."""
        return "".join(token.text for token in self.tokens if token.kind == "tool" and token.call == call)

    @property
    def reasoning_tokens(self) -> int:
        return sum(1 for token in self.tokens if token.kind == "reasoning")


def seed_of(ask: Ask, roll: int) -> int:
    """The seed of an answer. `roll` counts only where the request leaves the answer open."""
    digest = hashlib.blake2b(digest_size=8)
    # What only shortens an answer is left out, so that a shorter answer is the same answer cut.
    same = msgspec.structs.replace(ask, max_tokens=None, stop=(), min_tokens=0, ignore_eos=False)
    digest.update(msgspec.json.encode(same, order="deterministic"))
    if ask.temperature > 0 and ask.seed is None:
        digest.update(str(roll).encode())
    return int.from_bytes(digest.digest(), "big")


def answer(ask: Ask, roll: int) -> Reply:
    """Plan the reply to a request."""
    rng = random.Random(seed_of(ask, roll))  # noqa: S311 - pseudo-answers, not secrets
    tokens: list[Token] = []
    if ask.think:
        thought = " ".join(_THOUGHTS[: rng.randint(1, 3)]) + f" The question was: {_echo(ask.question)}."
        tokens += [Token("reasoning", text) for text in tokenize(thought)]
    calls = _calls(ask, rng)
    if calls:
        for index, call in enumerate(calls):
            tokens += [Token("tool", text, index) for text in tokenize(call.arguments)]
        return _limited(tokens, ask.max_tokens, "tool_calls", calls=calls)
    text, stop = _until_stop(_body(ask, rng, len(tokens)), ask.stop)
    tokens += [Token("text", piece) for piece in text]
    if ask.ignore_eos and ask.max_tokens is not None and stop is None:
        return _limited(tokens, ask.max_tokens, "length")
    return _limited(tokens, ask.max_tokens, "stop", stop=stop)


def _limited(
    tokens: list[Token],
    limit: int | None,
    finish: Literal["stop", "length", "tool_calls"],
    *,
    calls: tuple[Call, ...] = (),
    stop: str | None = None,
) -> Reply:
    # Even an empty answer takes the engine one token: the one that says it is over.
    tokens = tokens or [Token("text", "")]
    if limit is not None and len(tokens) > limit:
        return Reply(tokens=tuple(tokens[:limit]), finish="length", calls=calls)
    return Reply(tokens=tuple(tokens), finish=finish, calls=calls, stop=stop)


def _body(ask: Ask, rng: random.Random, used: int) -> list[str]:
    if ask.output == "choice":
        return tokenize(rng.choice(ask.choices))
    if ask.output == "json":
        schema = _PLAIN_OBJECT if ask.schema is None else ask.schema
        return tokenize(msgspec.json.encode(generate(schema, rng)).decode())
    exact = _EXACTLY.search(ask.question)
    if exact is not None:
        return tokenize(exact.group(1))
    wanted = rng.randint(40, MAX_DRAWN_TOKENS)
    if ask.ignore_eos and ask.max_tokens is not None:
        wanted = ask.max_tokens - used
    return _prose(ask.question, rng, max(wanted, ask.min_tokens), exact=ask.ignore_eos)


def _prose(question: str, rng: random.Random, wanted: int, *, exact: bool) -> list[str]:
    """Sentences of about `wanted` tokens, ending with a full stop; exactly as many when `exact`."""
    echo = _echo(question)
    tokens = tokenize(f"{rng.choice(_OPENINGS)} You asked: “{echo}”." if echo else rng.choice(_OPENINGS))
    capital = True
    while len(tokens) < wanted:
        clause = f" {rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
        joint = rng.choice(_JOINTS)
        if capital:
            clause = " " + clause[1].upper() + clause[2:]
        tokens += tokenize(clause + joint)
        capital = joint == "."
    if exact:
        return tokens[: max(wanted, 0)]
    if not capital:
        while not tokens[-1].startswith((",", ";")):
            tokens.pop()
        tokens[-1] = "."
    return tokens


def _echo(question: str) -> str:
    return " ".join(question.split()[:8])[:80]


def _until_stop(tokens: list[str], stops: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The tokens before the first stop sequence, the last one cut where it begins."""
    text = "".join(tokens)
    found = min(((text.find(stop), stop) for stop in stops if stop and stop in text), default=None)
    if found is None:
        return tokens, None
    cut, left = [], found[0]
    for token in tokens:
        if left <= 0:
            break
        cut.append(token[:left])
        left -= len(token)
    return cut, found[1]


def _calls(ask: Ask, rng: random.Random) -> tuple[Call, ...]:
    if not ask.tools or ask.tool_mode == "none":
        return ()
    named = [tool for tool in ask.tools if tool.name == ask.tool_name]
    invited = _USE_TOOL.search(ask.question)
    if not named:
        if ask.tool_mode != "required" and (ask.after_tool or invited is None):
            return ()
        mentioned = [tool for tool in ask.tools if tool.name.lower() in ask.question.lower()]
        named = mentioned[:1] or [rng.choice(ask.tools)]
        if invited is not None and invited.group(1) and ask.parallel_tools:
            named = list(ask.tools[:3])
    return tuple(
        Call(
            id=f"call_{rng.getrandbits(96):024x}",
            name=tool.name,
            arguments=msgspec.json.encode(generate(tool.parameters or {"type": "object"}, rng)).decode(),
        )
        for tool in named
    )
