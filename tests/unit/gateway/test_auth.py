"""Who gets in, with which header, and what those who do not are told."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import Forbidden, StorageError, Unauthenticated
from fairlead.gateway.auth import ANONYMOUS, Caller, Grant, KeySnapshot, authorise
from fairlead.gateway.keys import ADMIN, ENDPOINTS, Issued, Key, Scope, issue, secret_of

NOW = 1000.0


def make(number: int = 0, **fields: object) -> Issued:
    """A key of its own for each number; `fields` replace those of the key."""
    issued = issue(Scope(name=f"key {number}"), now=0.0, entropy=hashlib.sha512(b"%d" % number).digest())
    return Issued(key=msgspec.structs.replace(issued.key, **fields), secret=issued.secret)


def bearer(secret: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + secret.encode()}


def snapshot(*issued: Issued) -> KeySnapshot:
    return KeySnapshot([one.key for one in issued], 1)


# --- authentication -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        (b"authorization", b"Bearer "),
        (b"authorization", b"bearer "),
        (b"authorization", b" BEARER   "),
        (b"x-api-key", b""),
        (b"x-api-key", b" "),
        (b"api-key", b""),
        (b"x-goog-api-key", b""),
    ],
)
def test_every_clients_way_of_sending_a_key_is_understood(name: bytes, prefix: bytes) -> None:
    mine, other = make(1), make(2)

    grant = snapshot(mine, other).authenticate({name: prefix + mine.secret.encode()}, NOW)

    assert grant.key is mine.key


def test_a_placeholder_in_one_header_does_not_hide_the_key_in_another() -> None:
    mine = make(1)
    headers = {b"authorization": b"Bearer unused", b"x-api-key": mine.secret.encode()}

    assert snapshot(mine).authenticate(headers, NOW).key is mine.key


def test_the_first_known_key_decides_even_when_it_has_ended() -> None:
    ended, valid = make(1, revoked_at=1.0), make(2)
    headers = bearer(ended.secret) | {b"x-api-key": valid.secret.encode()}

    with pytest.raises(Unauthenticated, match="revoked"):
        snapshot(ended, valid).authenticate(headers, NOW)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"expires_at": NOW}, "has expired"),
        ({"revoked_at": NOW}, "was revoked"),
        ({"expires_at": NOW - 1, "revoked_at": NOW - 2}, "was revoked"),
        ({"expires_at": NOW - 2, "revoked_at": NOW - 1}, "has expired"),
    ],
)
def test_an_ended_key_is_refused_and_its_owner_told_why(fields: dict[str, float], message: str) -> None:
    mine = make(1, **fields)

    with pytest.raises(Unauthenticated, match=message):
        snapshot(mine).authenticate(bearer(mine.secret), NOW)


def test_a_key_is_valid_up_to_its_end() -> None:
    mine = make(1, expires_at=NOW + 1, revoked_at=NOW + 0.5)

    assert snapshot(mine).authenticate(bearer(mine.secret), NOW + 0.4).key is mine.key


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key was given"),
        ({b"authorization": b""}, "No API key was given"),
        ({b"x-api-key": b"  "}, "No API key was given"),
        ({b"authorization": b"Basic dXNlcjpwYXNz"}, "not of the form `Bearer KEY`"),
        ({b"authorization": b"Bearer"}, "not of the form `Bearer KEY`"),
        ({b"authorization": b"Bearer sk-proj-123"}, "begin with `fl-`"),
        ({b"x-api-key": b"\xff\xfe"}, "begin with `fl-`"),
        ({b"authorization": b"Bearer fl-short"}, "mistyped or incomplete"),
        (bearer(secret_of(b"\x07" * 40)), "is not known"),
    ],
)
def test_who_has_no_key_is_told_what_the_form_alone_tells(headers: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(Unauthenticated, match=message) as caught:
        snapshot(make(1)).authenticate(headers, NOW)

    for value in headers.values():
        secret = value.removeprefix(b"Bearer").strip().decode("latin-1")
        assert not secret or secret not in f"{caught.value.message} {caught.value.hint}"


def test_the_id_and_digest_of_a_key_are_not_its_secret() -> None:
    mine = make(1, revoked_at=1.0)
    for guess in (mine.key.id, mine.key.prefix, mine.key.digest.hex(), mine.secret[:-1], mine.secret + "0"):
        with pytest.raises(Unauthenticated) as caught:
            snapshot(mine).authenticate(bearer(guess), NOW)
        assert "revoked" not in caught.value.message


def test_without_a_snapshot_nobody_gets_in_and_clients_may_retry() -> None:
    mine = make(1)

    with pytest.raises(StorageError) as caught:
        KeySnapshot().authenticate(bearer(mine.secret), NOW)

    assert caught.value.status == 503
    assert caught.value.retryable


def test_an_empty_store_lets_nobody_in() -> None:
    with pytest.raises(Unauthenticated):
        KeySnapshot([], 0).authenticate(bearer(make(1).secret), NOW)


@given(
    held=st.sets(st.integers(0, 300), max_size=8),
    asked=st.integers(0, 300),
    name=st.sampled_from([b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"]),
)
def test_a_snapshot_accepts_exactly_the_secrets_it_holds(held: set[int], asked: int, name: bytes) -> None:
    keys = snapshot(*(make(number) for number in held))
    value = make(asked).secret.encode()
    headers = {name: b"Bearer " + value if name == b"authorization" else value}

    if asked in held:
        assert keys.authenticate(headers, NOW).key.id == make(asked).key.id
    else:
        with pytest.raises(Unauthenticated):
            keys.authenticate(headers, NOW)


@given(
    st.dictionaries(
        st.sampled_from([b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie"]),
        st.binary()
        | st.binary().map(lambda data: b"Bearer " + data)
        | st.just(b"Bearer " + make(9).secret.encode()),
    )
)
def test_no_bytes_but_a_held_secret_are_let_in(headers: dict[bytes, bytes]) -> None:
    keys = snapshot(*(make(number) for number in range(5)))

    with pytest.raises(Unauthenticated):
        keys.authenticate(headers, NOW)


# --- snapshots ----------------------------------------------------------------------------------


def test_a_change_makes_another_snapshot_and_leaves_the_old_one() -> None:
    first, second = make(1), make(2)
    old = snapshot(first)
    revoked = msgspec.structs.replace(first.key, revoked_at=NOW)
    new = old.changed([revoked, second.key], 2)

    assert old.authenticate(bearer(first.secret), NOW).key is first.key
    assert (len(old), old.revision, len(new), new.revision) == (1, 1, 2, 2)
    assert new.authenticate(bearer(second.secret), NOW).key is second.key
    with pytest.raises(Unauthenticated, match="revoked"):
        new.authenticate(bearer(first.secret), NOW)


def test_a_key_whose_digest_changed_is_no_longer_known_by_the_old_one() -> None:
    mine = make(1)
    new = snapshot(mine).changed([msgspec.structs.replace(mine.key, digest=b"unreadable")], 2)

    assert len(new) == 1
    with pytest.raises(Unauthenticated, match="not known"):
        new.authenticate(bearer(mine.secret), NOW)


# --- authorisation ------------------------------------------------------------------------------


def grant(**fields: object) -> Grant:
    return Grant(make(1, **fields).key)


def allowed(grant: Grant, endpoint: str = "chat", model: str | None = "m", peer: str = "192.0.2.1") -> bool:
    try:
        authorise(grant, endpoint, model, peer, NOW)
    except Forbidden:
        return False
    return True


INFERENCE = [name for name in ENDPOINTS if name not in ("*", ADMIN)]


@pytest.mark.parametrize("endpoint", [*INFERENCE, "models", "count_tokens", ADMIN])
@pytest.mark.parametrize("scope", ENDPOINTS)
def test_the_matrix_of_scopes(scope: str, endpoint: str) -> None:
    expected = (
        endpoint == "models"
        or scope == endpoint
        or (scope == "*" and endpoint != ADMIN)
        or (scope == "messages" and endpoint == "count_tokens")
    )

    assert allowed(grant(endpoints=(scope,)), endpoint) is expected


def test_scopes_add_up() -> None:
    both = grant(endpoints=("chat", ADMIN))

    assert [name for name in [*INFERENCE, ADMIN] if allowed(both, name)] == ["chat", ADMIN]


@pytest.mark.parametrize(
    ("models", "model", "expected"),
    [
        (("*",), "anything/at:all", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-4o",), "", False),
        (("gpt-*",), "gpt-", True),
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "my-gpt-4o", False),
        (("*/llama",), "meta/llama", True),
        (("*/llama",), "meta/llama2", False),
        (("a*b*c",), "abc", True),
        (("a*b*c",), "a-b-b-c", True),
        (("a*b*c",), "a-c", False),
        (("aa*aa",), "aaa", False),
        (("aa*aa",), "aaaa", True),
        (("[a-z]?*",), "b?x", False),
        (("[a-z]?*",), "[a-z]?x", True),
        (("x", "y*"), "y1", True),
        ((), "x", False),
    ],
)
def test_models_by_name_and_pattern(models: tuple[str, ...], model: str, expected: bool) -> None:
    assert allowed(grant(models=models), model=model) is expected


def test_an_endpoint_without_a_model_is_not_bound_by_models() -> None:
    assert allowed(grant(models=("gpt-4o",)), "files", None)


@given(
    st.lists(st.text("ab", max_size=3), min_size=2, max_size=5),
    st.lists(st.text("ab"), min_size=4, max_size=4),
)
def test_a_pattern_matches_whatever_fills_its_stars(pieces: list[str], filling: list[str]) -> None:
    model = pieces[0] + "".join(fill + piece for fill, piece in zip(filling, pieces[1:], strict=False))

    assert grant(models=("*".join(pieces),)).covers_model(model)


def test_matching_a_hostile_name_takes_linear_work() -> None:
    """With a regular expression this pattern and name would take years."""
    assert not grant(models=("*a" * 60 + "b",)).covers_model("a" * 100_000)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("10.1.2.3:80", False),
        ("unix:", False),
    ],
)
def test_ranges_bind_a_key_to_addresses(peer: str, expected: bool) -> None:
    assert allowed(grant(ip_ranges=("10.0.0.0/8", "2001:db8::/32")), peer=peer) is expected


def test_without_ranges_any_peer_will_do() -> None:
    assert allowed(grant(), peer="")


def test_a_refusal_names_what_is_missing_and_nothing_that_is_there() -> None:
    bound = grant(endpoints=("chat",), models=("secret-model",), ip_ranges=("10.0.0.0/8",))

    with pytest.raises(Forbidden, match="may not use `embeddings`"):
        authorise(bound, "embeddings", "x", "10.0.0.1", NOW)
    with pytest.raises(Forbidden, match=r"may not use the model `x{100}`") as caught:
        authorise(bound, "chat", "x" * 5000, "10.0.0.1", NOW)
    assert caught.value.param == "model"
    assert "secret-model" not in caught.value.message
    with pytest.raises(Forbidden, match=r"from 192\.0\.2\.1") as caught:
        authorise(bound, "chat", "secret-model", "192.0.2.1", NOW)
    assert "10.0.0.0" not in caught.value.message


def test_a_key_that_ended_while_the_body_arrived_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        authorise(grant(expires_at=NOW), "chat", "m", "", NOW)


def test_the_caller_is_who_the_key_says() -> None:
    caller = authorise(
        grant(tenant="team-a", name="app", endpoints=("*", ADMIN)), "chat", "m", "192.0.2.1", NOW
    )

    assert caller == Caller(
        key_id=make(1).key.id, tenant="team-a", name="app", scopes=frozenset({"*", ADMIN}), is_admin=True
    )
    assert not authorise(grant(), "chat", "m", "", NOW).is_admin
    assert not ANONYMOUS.is_admin


def test_a_key_with_a_broken_range_is_not_accepted() -> None:
    key: Key = make(1, ip_ranges=("nowhere",)).key

    with pytest.raises(ValueError, match="nowhere"):
        Grant(key)
