from __future__ import annotations

import calendar
import time
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials as BotocoreCredentials

from fairlead.net.sigv4 import Credentials, sign, signing_key

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key=SECRET)
NOW = float(calendar.timegm((2015, 8, 30, 12, 36, 0)))


def authorization(target: str, body: bytes = b"", **more: Any) -> str:
    options: dict[str, Any] = {
        "method": "POST",
        "host": "bedrock-runtime.us-east-1.amazonaws.com",
        "headers": ((b"content-type", b"application/json"),),
        "credentials": CREDENTIALS,
        "region": "us-east-1",
        "service": "bedrock",
        "now": NOW,
    }
    headers = sign(target=target, body=body, **{**options, **more})
    return dict(headers)[b"authorization"].decode()


def test_the_documented_iam_example() -> None:
    value = authorization(
        "/?Action=ListUsers&Version=2010-05-08",
        method="GET",
        host="iam.amazonaws.com",
        headers=((b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),),
        service="iam",
    )

    assert value == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_the_documented_signing_key() -> None:
    assert signing_key(SECRET, "20150830", "us-east-1", "iam").hex() == (
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    )


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        ("/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
)
def test_the_published_suite(target: str, signature: str) -> None:
    """`get-vanilla` and `get-vanilla-query-order-key-case`."""
    value = authorization(target, method="GET", host="example.amazonaws.com", headers=(), service="service")

    assert value.endswith(f"Signature={signature}")


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(
    "target",
    [
        "/model/anthropic.claude-opus-5-v1%3A0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
        "/a/./b/../c//d~e/",
        "/search?q=a%20b&q=&z=%2F&A=1",
        "/",
    ],
)
def test_botocore_signs_the_same(monkeypatch: pytest.MonkeyPatch, target: str, token: str | None) -> None:
    moment = get_current_datetime()
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *args, **kwargs: moment)
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    request = AWSRequest("POST", f"https://{host}{target}", {"content-type": "application/json"}, b'{"a":1}')
    SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", SECRET, token), "bedrock", "us-east-1").add_auth(request)
    credentials = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key=SECRET, session_token=token)

    ours = authorization(
        target, b'{"a":1}', credentials=credentials, now=calendar.timegm(time.struct_time(moment.timetuple()))
    )

    assert ours == request.headers["Authorization"]


def test_the_given_headers_and_the_token_are_returned() -> None:
    credentials = Credentials(access_key_id="A", secret_access_key="B", session_token="T")

    headers = sign(
        method="POST",
        host="h",
        target="/",
        headers=((b"content-type", b"application/json"),),
        body=b"",
        credentials=credentials,
        region="r",
        service="s",
        now=NOW,
    )

    assert [name for name, _ in headers] == [
        b"content-type",
        b"x-amz-date",
        b"x-amz-security-token",
        b"authorization",
    ]


def test_fields_that_proxies_change_are_not_signed() -> None:
    value = authorization("/", headers=((b"user-agent", b"x"), (b"x-a", b"  two   words ")))

    assert "SignedHeaders=host;x-a;x-amz-date," in value


def test_credentials_do_not_print() -> None:
    for text in (repr(CREDENTIALS), str(CREDENTIALS), f"{CREDENTIALS}"):
        assert SECRET not in text
        assert "AKIDEXAMPLE" not in text
