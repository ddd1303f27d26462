"""What counts as an engine's answer. The asking itself is in tests/e2e/config."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.detect import LocalEngine
from fairlead.config.probe import PLACES, Place, engine_from

OK = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n"
VLLM = Place(8000, "vllm", "vllm")


def test_a_list_of_models_is_an_engine() -> None:
    body = b'{"object":"list","data":[{"id":"a","owned_by":"vllm","max_model_len":4096},{"id":"b"}]}'
    assert engine_from(VLLM, OK, body) == LocalEngine(
        name="vllm", type="vllm", base_url="http://127.0.0.1:8000/v1", models=("a", "b")
    )


def test_what_an_engine_calls_itself_is_better_evidence_than_its_port() -> None:
    engine = engine_from(VLLM, OK, b'{"data":[{"id":"a","owned_by":"sglang"}]}')
    assert engine is not None
    assert (engine.name, engine.type) == ("sglang", "sglang")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (OK, b"<html></html>"),
        (OK, b"[]"),
        (OK, b'{"data":[1]}'),
        (OK, b'{"data":[{"id":5}]}'),
        (OK, b"\xff\xfe"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", b'{"data":[]}'),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", b'{"data":[]}'),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b'{"data":[]}'),
        (b"\r\n\r\n", b'{"data":[]}'),
    ],
)
def test_anything_else_is_none(head: bytes, body: bytes) -> None:
    assert engine_from(VLLM, head, body) is None


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_answer_raises(head: bytes, body: bytes) -> None:
    engine_from(VLLM, head, body)
    engine_from(VLLM, OK, body)


def test_the_gateways_own_port_is_not_asked() -> None:
    assert 8080 not in [place.port for place in PLACES]
