"""Keys: the same for the same question of the same scope, another for everything else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.cache.made import CONFIG, ask, config, key_of, space

from fairlead.cache.key import IGNORED, KEY_BYTES, Space, Spaces, read

names = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
bodies = st.fixed_dictionaries(
    {"model": names, "messages": st.lists(st.fixed_dictionaries({"role": names, "content": values}))},
    optional={
        "temperature": st.floats(0, 2),
        "tools": st.lists(values, max_size=2),
        "response_format": values,
        "seed": st.integers(),
        "x": values,
    },
)
apis = st.sampled_from(sorted(IGNORED))


def shuffled(value: Any, draw: st.DataObject) -> Any:
    """The same JSON value with the names of every object in another order."""
    if isinstance(value, dict):
        order = draw.draw(st.permutations(list(value)))
        return {name: shuffled(value[name], draw) for name in order}
    if isinstance(value, list):
        return [shuffled(one, draw) for one in value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name, one in value.items():
            found += places(one, (*path, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += places(one, (*path, index))
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: true is not 1, and 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(body=bodies, api=apis, draw=st.data())
def test_order_of_names_space_and_escapes_do_not_count(
    body: dict[str, Any], api: str, draw: st.DataObject
) -> None:
    compact = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    spread = json.dumps(shuffled(body, draw), indent=draw.draw(st.integers(0, 3)), ensure_ascii=True).encode()

    assert key_of(compact, api=api) == key_of(spread, api=api)


@given(body=bodies, other=values, api=apis, draw=st.data())
def test_any_change_of_what_counts_changes_the_key(
    body: dict[str, Any], other: Any, api: str, draw: st.DataObject
) -> None:
    changed = copy.deepcopy(body)
    *way, last = draw.draw(st.sampled_from(places(body)))
    inner = changed
    for step in way:
        inner = inner[step]
    assume(not same(inner[last], other))
    inner[last] = other

    assert key_of(json.dumps(body).encode(), api=api) != key_of(json.dumps(changed).encode(), api=api)


@given(body=bodies, name=names, other=values, api=apis)
def test_a_field_more_changes_the_key(body: dict[str, Any], name: str, other: Any, api: str) -> None:
    assume(name not in body and name not in IGNORED[api])

    more = body | {name: other}

    assert key_of(json.dumps(body).encode(), api=api) != key_of(json.dumps(more).encode(), api=api)


@pytest.mark.parametrize("api", sorted(IGNORED))
@given(body=bodies, other=values)
def test_what_is_listed_does_not_count(api: str, body: dict[str, Any], other: Any) -> None:
    key = key_of(json.dumps(body).encode(), api=api)
    for name in IGNORED[api]:
        assert key_of(json.dumps(body | {name: other}).encode(), api=api) == key


@given(body=bodies, tenants=st.tuples(names, names), models=st.tuples(names, names), draw=st.data())
def test_no_key_is_that_of_another_scope_or_route(
    body: dict[str, Any], tenants: tuple[str, str], models: tuple[str, str], draw: st.DataObject
) -> None:
    """Whatever the names are: none of them runs over into another field."""
    first, second = zip(tenants, models, strict=True)
    assume(first != second)

    request = read("chat", json.dumps(body).encode())
    assert request is not None
    keys = {Space(f"tenant:{tenant}", tenant, model, b"").key(request) for tenant, model in (first, second)}

    assert len(keys) == 2


def test_api_and_headers_count() -> None:
    body = ask()
    request = read("chat", body)
    assert request is not None
    plain, beta = space().key(request), space().key(request, b"anthropic-beta: a\r\n")

    assert len(plain) == KEY_BYTES
    assert len({plain, beta, key_of(body, api="messages")}) == 3


@pytest.mark.parametrize("spelling", ["1", "1.0", "1e0", "10e-1", "1.000", "0.1E1"])
def test_numbers_count_by_value(spelling: str) -> None:
    body = b'{"model":"m","messages":[],"temperature":%b}'

    assert key_of(body % spelling.encode()) == key_of(body % b"1")


def test_numbers_that_only_look_alike_do_not() -> None:
    body = b'{"model":"m","seed":%b}'
    values = [
        b"9007199254740993",
        b"9007199254740992",
        b"1",
        b"true",
        b'"1"',
        b"null",
        b"0.1",
        b"1e-1000",
        b"[1]",
    ]

    assert len({key_of(body % value) for value in values}) == len(values)
    assert key_of(body % b"-0.0") == key_of(body % b"0")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_what_is_no_request_has_no_key(body: bytes) -> None:
    assert read("chat", body) is None


def test_an_api_that_is_not_listed_has_no_keys() -> None:
    assert read("images", ask()) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","model":"n"}',
        b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}',
        b'{"model":"m","stream":true,"stream":false}',
        b'{"model":"m","mod\\u0065l":"n"}',
        # An escaped colon makes the count of colons right again.
        b'{"model":"m","model":"n","user":"a\\u003ab"}',
        b'{"model":"m","messages":[{"content":"a","content":"b\\u003A"}]}',
    ],
)
def test_a_field_that_is_there_twice_leaves_no_key(body: bytes) -> None:
    """Who reads the first of the two and who reads the last would share an answer."""
    assert read("chat", body) is None


def test_a_colon_in_a_text_is_no_field() -> None:
    assert read("chat", ask("a: b: c", user="x:y", metadata={"k:1": "v:2"})) is not None
    assert read("chat", ask('tab\t, quote ", back\\slash')) is not None


def test_spaces_of_tenants_are_apart_unless_a_scope_joins_them() -> None:
    spaces = Spaces(config())

    def scope(model: str, tenant: str) -> str:
        found = spaces.of(model, tenant)
        assert found is not None
        assert found.tenant == tenant
        assert found.model == model
        return found.scope

    assert scope("gpt", "acme") == "tenant:acme"
    assert scope("joint", "acme") == scope("joint", "globex") == "shared:ours"
    assert scope("joint", "stranger") == "tenant:stranger"
    assert scope("open", "stranger") == "shared:public"
    assert spaces.of("plain", "acme") is None
    assert spaces.of("nothing", "acme") is None
    assert spaces.of("gpt", "acme") is spaces.of("gpt", "acme")


def test_a_tenant_cannot_be_named_into_a_shared_scope() -> None:
    spaces = Spaces(config())
    stranger = spaces.of("joint", "shared:ours")
    member = spaces.of("joint", "acme")
    assert stranger is not None
    assert member is not None

    assert key_of(ask(), stranger) != key_of(ask(), member)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("gpt: {targets: [{provider: one}]", "gpt: {targets: [{provider: one, model: other}]"),
        ("cache: {ttl_s: 100}}", "cache: {ttl_s: 100, version: two}}"),
        ("{type: simulated}", "{type: simulated, base_url: 'http://127.0.0.1:1/v1'}"),
        ("{type: simulated}", "{type: simulated, headers: {x-version: '2'}}"),
    ],
)
def test_another_target_or_version_is_another_key(before: str, after: str) -> None:
    assert before in CONFIG
    old, new = (Spaces(config(text)).of("gpt", "acme") for text in (CONFIG, CONFIG.replace(before, after)))
    assert old is not None
    assert new is not None

    assert key_of(ask(), old) != key_of(ask(), new)


def test_what_changes_no_answer_changes_no_key() -> None:
    text = CONFIG.replace("cache: {ttl_s: 100}}", "cache: {ttl_s: 5, media: true}, max_wait_s: 1}")
    text = text.replace("{provider: one}", "{provider: one, weight: 3}")
    old, new = Spaces(config()).of("gpt", "acme"), Spaces(config(text)).of("gpt", "acme")
    assert old is not None
    assert new is not None

    assert key_of(ask(), old) == key_of(ask(), new)
