"""The one error tree.

A class says, without anybody reading its message, what happens next: `code`
(stable, machine-readable), `status` (HTTP), `exit_status` (command line),
`retryable` (may the same call succeed later) and perhaps a `hint`. The
docstring is the default message. Only `gateway.routes` and `cli.main` turn an
error into words for a client or a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class FairleadError(Exception):
    """Something went wrong inside Fairlead."""

    code: str = "internal_error"
    status: int = 500
    exit_status: int = 1
    retryable: bool = False
    hint: str | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Describe one failure.

        Args:
            message: what happened and where; the class docstring when omitted.
            hint: what the reader can do about it.
            param: the request field or configuration path at fault.
            retry_after_s: seconds after which the same call may succeed.
        """
        self.message = message or (type(self).__doc__ or "").strip()
        if hint is not None:
            self.hint = hint
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


# --- configuration and command line -------------------------------------------------------------


class ConfigError(FairleadError):
    """The configuration is not valid."""

    code = "config_invalid"
    exit_status = 5


class UsageError(FairleadError):
    """The command was not used as it should be."""

    code = "usage"
    status = 400
    exit_status = 2


# --- requests a client can mend -----------------------------------------------------------------


class InvalidRequest(FairleadError):
    """The request is not valid."""

    code = "invalid_request"
    status = 400
    upstream_body: bytes = b""
    """The upstream's own error body, for clients of its dialect."""


class UnsupportedByTarget(InvalidRequest):
    """The request uses something that the chosen upstream cannot carry."""

    code = "unsupported_by_target"


class ContextWindowExceeded(InvalidRequest):
    """The prompt is longer than the model's context window."""

    code = "context_length_exceeded"


class ContentPolicyRefused(InvalidRequest):
    """The provider's content policy refused the request."""

    code = "content_policy_violation"


class BodyTooLarge(InvalidRequest):
    """The request body is larger than the gateway accepts."""

    code = "request_too_large"
    status = 413


class NotFound(FairleadError):
    """There is nothing under this name."""

    code = "not_found"
    status = 404


class ModelNotFound(NotFound):
    """No route serves this model."""

    code = "model_not_found"


class MethodNotAllowed(FairleadError):
    """This path does not answer that method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str | None = None, *, allow: Sequence[str] = ()) -> None:
        """Describe one failure; `allow` are the methods that would be answered (RFC 9110, 10.2.1)."""
        super().__init__(message)
        self.allow = tuple(allow)


class NotCached(FairleadError):
    """The cache has no answer to this request, and it asked for nothing else."""

    code = "not_cached"
    status = 504
    hint = "leave out `cache-control: only-if-cached` to have the model asked"


class Conflict(FairleadError):
    """Something of this name exists already."""

    code = "conflict"
    status = 409


# --- who is calling -----------------------------------------------------------------------------


class Unauthenticated(FairleadError):
    """No valid API key was given."""

    code = "invalid_api_key"
    status = 401
    hint = "send `Authorization: Bearer KEY` or `x-api-key: KEY`; `fairlead keys create` makes one"


class Forbidden(FairleadError):
    """This API key may not do that."""

    code = "permission_denied"
    status = 403


# --- capacity -----------------------------------------------------------------------------------


class Exceeded(NamedTuple):
    """The limit that refused a request, for who wants more than the message."""

    limit: str
    """Its id, such as `acme/gpt-5/tokens` or `key:3f8a01Bc/usd:month`."""
    node: str
    """The tenant, or `key:` and a key's id."""
    model: str | None
    what: str
    """`requests`, `tokens`, `usd` (micro-dollars) or `concurrent`."""
    window: str
    """`minute`, `hour`, `day`, `week` or `month`; "" for concurrency."""
    amount: int
    used: int
    reserved: int
    remaining: int
    asked: int
    resets_at: float | None
    """Unix seconds."""


class RateLimited(FairleadError):
    """Too many requests for now."""

    code = "rate_limit_exceeded"
    status = 429
    retryable = True
    exceeded: Exceeded | None = None
    """The tenant's or key's limit that refused; None when it was an upstream."""


class BudgetExceeded(RateLimited):
    """The budget is spent until its window ends."""

    code = "budget_exceeded"
    # Days may pass until then: an SDK's own retries would never meet it.
    retryable = False


class AboveLimit(RateLimited):
    """This request alone asks for more than a limit ever admits."""

    code = "request_above_limit"
    retryable = False
    hint = "ask for fewer output tokens or shorten the prompt"


class LimitsUnavailable(FairleadError):
    """The store of limits cannot be asked, and this limit is closed without it."""

    code = "limits_unavailable"
    status = 503
    retryable = True


class Overloaded(FairleadError):
    """The gateway has no capacity for this request at the moment."""

    code = "overloaded"
    status = 503
    retryable = True


class QueueFull(Overloaded):
    """Too many requests wait for this model already, or the wait would be longer than allowed."""

    code = "queue_full"
    # The caller's own traffic is what fills its place in a fair queue, so it is the one to slow down.
    status = 429


class QueueTimeout(Overloaded):
    """The request waited for a place as long as it may, and none became free."""

    code = "queue_timeout"
    status = 429


class DeadlineExceeded(FairleadError):
    """The request's deadline passed before an answer began."""

    code = "deadline_exceeded"
    status = 504
    retryable = True


# --- upstream -----------------------------------------------------------------------------------


class UpstreamError(FairleadError):
    """The upstream failed."""

    code = "upstream_error"
    status = 502
    retryable = True


class UpstreamUnreachable(UpstreamError):
    """No connection to the upstream could be made."""

    code = "upstream_unreachable"
    status = 503


class UpstreamTlsFailed(UpstreamUnreachable):
    """The upstream's TLS handshake or certificate was not accepted."""

    code = "upstream_tls_failed"


class UpstreamDisconnected(UpstreamError):
    """The upstream closed the connection before any byte of an answer."""

    code = "upstream_disconnected"
    unsent: bool = False
    """True when the connection was lost before anything of the request was written."""


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    code = "upstream_timeout"
    status = 504


class UpstreamCut(UpstreamError):
    """The upstream ended its answer before it was complete."""

    code = "upstream_cut"


class UpstreamProtocolError(UpstreamError):
    """The upstream's answer is not valid HTTP."""

    code = "upstream_protocol_error"


class BadUpstreamAnswer(UpstreamError):
    """The upstream's answer is not what its dialect prescribes."""

    code = "upstream_bad_answer"


class UpstreamsExhausted(UpstreamError):
    """Every target of this model failed."""

    code = "upstreams_exhausted"
    status = 503


# --- state --------------------------------------------------------------------------------------


class StorageError(FairleadError):
    """The state store failed."""

    code = "storage_error"
    status = 503
    retryable = True


class StorageUnusable(StorageError):
    """The state store cannot be used until somebody mends it."""

    code = "storage_unusable"
    retryable = False


class StorageDamaged(StorageUnusable):
    """The state store's file is damaged, or is no database."""

    code = "storage_damaged"


class StatementRejected(StorageError):
    """The state store refused a statement: a broken constraint, or wrong SQL."""

    code = "storage_statement_rejected"
    status = 500
    retryable = False


# --- vault --------------------------------------------------------------------------------------


class VaultError(FairleadError):
    """The vault cannot do this."""

    code = "vault_error"


class Tampered(VaultError):
    """Sealed data is not what was sealed: it was changed, cut, moved, or the key is not its own."""

    code = "tampered"
    hint = "nothing of it was used; restore the file from a good copy, and ask who can write to the storage"


class SignatureRefused(VaultError):
    """The signature is missing, wrong, or not by a key that is trusted for this."""

    code = "signature_refused"
    status = 422
    hint = "nothing of it was used; check which keys are trusted, and who signed it"


class KeyServiceUnavailable(VaultError):
    """The key service cannot be asked, so nothing is decrypted."""

    code = "key_service_unavailable"
    status = 503
    retryable = True


class KeyRefused(VaultError):
    """The key service refused this key: disabled, denied, or bound to something else."""

    code = "key_refused"
    status = 403


class VaultDenied(VaultError):
    """The vault's rules do not allow this."""

    code = "vault_denied"
    status = 403


class GrantRefused(VaultDenied):
    """This grant does not open this."""

    code = "vault_grant_refused"
    hint = "ask for a new one: a grant is for one version, principal and purpose, and lives for minutes"

    def __init__(self, reason: str = "") -> None:
        """Refuse a grant; `reason` is for the audit, and the message is the same for all."""
        super().__init__()
        self.reason = reason


class AuditUnavailable(VaultError):
    """The audit log cannot be written, so nothing is released."""

    code = "audit_unavailable"
    status = 503
    retryable = True


class IdentityUnavailable(VaultError):
    """Who the caller is cannot be found out at the moment, so nothing is released."""

    code = "identity_unavailable"
    status = 503
    retryable = True


class IngestRefused(VaultError):
    """The ingest gate refused a file: it is not known to be harmless."""

    code = "ingest_refused"
    status = 422


class Quarantined(IngestRefused):
    """A file is held by the ingest gate until somebody approves it."""

    code = "quarantined"


# --- HTTP on the wire ---------------------------------------------------------------------------


class MalformedHttp(FairleadError):
    """The bytes received are not a valid HTTP request."""

    code = "malformed_http"
    status = 400


class HeadersTooLarge(MalformedHttp):
    """The request's header section is larger than the server accepts."""

    code = "headers_too_large"
    status = 431


class RequestTimeout(MalformedHttp):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408


class HttpVersionUnsupported(MalformedHttp):
    """The server speaks HTTP/1.1 and HTTP/1.0 only."""

    code = "http_version_unsupported"
    status = 505


class HttpMethodUnknown(MalformedHttp):
    """The server does not know this request method."""

    code = "http_method_unknown"
    status = 501
