"""What failures of the OpenAI family mean, and how clients are told of ours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import errors
from fairlead.providers.openai_errors import error_body, error_frame, failure_detail, failure_of
from fairlead.types import Failure, FailureKind


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


TOO_LONG = [
    (400, body(message="This model's maximum context length is 8192 tokens.", type="invalid_request_error",
               param="messages", code="context_length_exceeded")),
    # vLLM, before and after it adopted the envelope
    (400, b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens. However, you '
          b'requested 5000","type":"BadRequestError","param":null,"code":400}'),
    (400, body(message="This model's maximum context length is 4096 tokens.", type="BadRequestError",
               param="input_tokens", code=400)),
    # llama.cpp
    (400, body(code=400, message="the request exceeds the available context size, try increasing it",
               type="exceed_context_size_error", n_prompt_tokens=9000, n_ctx=4096)),
    # TGI
    (422, b'{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: '
          b'5000 `inputs` tokens","error_type":"validation"}'),
    # SGLang
    (400, b'{"object":"error","message":"The input (5000 tokens) is longer than the model\'s context length '
          b'(4096 tokens).","type":"BadRequestError","param":null,"code":400}'),
    # Mistral, xAI
    (400, b'{"object":"error","message":"Prompt contains 40000 tokens, too large for model with 32768 '
          b'maximum context length","type":"invalid_request_error","code":"3051"}'),
    (400, b'{"code":"invalid argument","error":"This model\'s maximum prompt length is 131072 but the '
          b'request contains 537812 tokens."}'),
]  # fmt: skip


@pytest.mark.parametrize(("status", "answer"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_recognised(status: int, answer: bytes) -> None:
    assert failure_of(status, [], answer).kind is FailureKind.CONTEXT_WINDOW


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (400, body(message="flagged", code="content_policy_violation"), FailureKind.CONTENT_POLICY),
        (400, body(message="x", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
         FailureKind.CONTENT_POLICY),
        (400, body(message="x", code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
         FailureKind.CONTENT_POLICY),
        (429, body(message="no credit", type="insufficient_quota", code="insufficient_quota"),
         FailureKind.QUOTA),
        (402, body(message="Insufficient Balance", type="unknown_error", code="invalid_request_error"),
         FailureKind.QUOTA),
        (429, body(message="slow", type="requests", code="rate_limit_exceeded"), FailureKind.RATE_LIMITED),
        (429, b"", FailureKind.RATE_LIMITED),
        (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', FailureKind.OVERLOADED),
        (413, body(message="Request too large", type="tokens", code="rate_limit_exceeded"),
         FailureKind.INVALID_REQUEST),
        (401, body(message="bad key", code="invalid_api_key"), FailureKind.AUTH),
        (403, b"Forbidden", FailureKind.AUTH),
        (404, body(message="no such model", code="model_not_found"), FailureKind.NOT_FOUND),
        (404, b'{"error":"model \\"x\\" not found, try pulling it first"}', FailureKind.NOT_FOUND),
        (404, b'{"error":{"code":"DeploymentNotFound","message":"none"}}', FailureKind.NOT_FOUND),
        (408, b"", FailureKind.TIMEOUT),
        (504, b"<html><title>504 Gateway Time-out</title></html>", FailureKind.TIMEOUT),
        (503, b"", FailureKind.OVERLOADED),
        (529, body(message="x", type="server_error"), FailureKind.OVERLOADED),
        (503, body(message="Loading model", type="unavailable_error", code=503), FailureKind.OVERLOADED),
        (500, body(message="x", type="server_error"), FailureKind.SERVER_ERROR),
        (500, b'{"object":"error","message":"x","type":"InternalServerError","code":500}',
         FailureKind.SERVER_ERROR),
        (502, b"<html></html>", FailureKind.SERVER_ERROR),
        (424, b'{"error":"Request failed during generation","error_type":"generation"}',
         FailureKind.SERVER_ERROR),
        (400, body(message="bad", type="invalid_request_error", param="x"), FailureKind.INVALID_REQUEST),
        (422, b'{"detail":[{"loc":["body","n"],"msg":"field required"}]}', FailureKind.INVALID_REQUEST),
        (302, b"", FailureKind.BAD_ANSWER),
        (200, body(message="x", code=429), FailureKind.RATE_LIMITED),
        (200, body(message="x", code="429"), FailureKind.RATE_LIMITED),
        (200, body(message="x", code=400), FailureKind.INVALID_REQUEST),
        (200, body(message="maximum context length", code=400), FailureKind.CONTEXT_WINDOW),
        (200, body(message="x"), FailureKind.SERVER_ERROR),
    ],
)  # fmt: skip
def test_codes_types_and_statuses_decide(status: int, answer: bytes, kind: FailureKind) -> None:
    failure = failure_of(status, [], answer)
    assert failure.kind is kind
    assert failure.status == status
    assert failure.message


def test_code_param_and_wait_are_kept() -> None:
    failure = failure_of(
        429,
        [(b"retry-after", b"7")],
        body(message="slow", type="tokens", code="rate_limit_exceeded", param="x"),
    )
    assert failure == Failure(
        kind=FailureKind.RATE_LIMITED, message="slow", status=429, code="rate_limit_exceeded", param="x",
        retry_after_s=7.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided: sk-proj-abcdefghijklmnop1234. You can find your API key at https://x.y",
        "Incorrect API key provided: sk-ab***********************wxyz.",
        "invalid key 9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "Bearer abcdef0123456789abcdef0123456789 is not known",
    ],
)
def test_a_refused_credential_is_never_shown(message: str) -> None:
    shown = failure_of(401, [], body(message=message, code="invalid_api_key")).message
    assert "[redacted]" in shown
    for part in ("sk-proj", "sk-ab", "wxyz", "9f8e7d6c", "abcdef01"):
        assert part not in shown


def test_a_web_page_is_named_not_shown() -> None:
    failure = failure_of(502, [], b"<!DOCTYPE html><html><body><script>x</script></body></html>")
    assert "HTML" in failure.message
    assert "script" not in failure.message


@given(st.sampled_from([200, 400, 401, 404, 429, 500, 503]), st.binary(max_size=200))
def test_no_body_breaks_it(status: int, answer: bytes) -> None:
    assert failure_of(status, [], answer).message


@given(
    st.dictionaries(
        st.sampled_from(["error", "message", "code", "type", "param", "detail", "object", "innererror"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["message", "code", "type", "innererror"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_no_json_breaks_it(answer: dict[str, object]) -> None:
    assert failure_of(400, [], json.dumps(answer).encode()).message


# --- towards the client -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.InvalidRequest("x", param="n"), "invalid_request_error", "invalid_request"),
        (errors.ContextWindowExceeded(), "invalid_request_error", "context_length_exceeded"),
        (errors.UnsupportedByTarget("x"), "invalid_request_error", "unsupported_by_target"),
        (errors.Unauthenticated(), "authentication_error", "invalid_api_key"),
        (errors.Forbidden(), "permission_error", "permission_denied"),
        (errors.ModelNotFound(), "not_found_error", "model_not_found"),
        (errors.RateLimited(), "rate_limit_error", "rate_limit_exceeded"),
        (errors.Overloaded(), "server_error", "overloaded"),
        (errors.UpstreamsExhausted(), "server_error", "upstreams_exhausted"),
        (errors.FairleadError(), "server_error", "internal_error"),
    ],
)
def test_each_class_has_its_type(error: errors.FairleadError, kind: str, code: str) -> None:
    told = json.loads(error_body(error))["error"]
    assert told.keys() == {"message", "type", "param", "code"}
    assert (told["type"], told["code"], told["param"]) == (kind, code, error.param)
    assert told["message"].startswith(error.message)


def test_a_hint_is_told() -> None:
    assert (
        "Hint: try this."
        in json.loads(error_body(errors.InvalidRequest("No.", hint="try this")))["error"]["message"]
    )


def test_a_failure_in_a_stream_is_an_event_with_an_error() -> None:
    frame = error_frame(failure_detail(Failure(kind=FailureKind.CUT, message="it broke")))
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"\n\n")
    assert json.loads(frame[6:])["error"]["code"] == "upstream_cut"
