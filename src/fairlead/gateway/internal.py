"""Requests that the gateway makes for itself: vectors, answers to compare with, a judge's verdict.

They take the way to the targets that clients' requests take, with its
retries, breakers and queues, and leave a record like theirs, so that what they
cost is in the ledger and in the metrics. They belong to no tenant: the limits
of none apply, and the callers bound them themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import msgspec

from fairlead.errors import FairleadError, ModelNotFound, UpstreamTimeout
from fairlead.gateway.dispatch import Dispatch
from fairlead.gateway.exchange import Exchange, RequestIds
from fairlead.gateway.prepare import Asked
from fairlead.gateway.relay import deliver
from fairlead.gateway.router import RouteTable
from fairlead.limits.flows import Band, Flow
from fairlead.net.call import Call
from fairlead.net.head import Head
from fairlead.providers.rewrite import read_head
from fairlead.providers.table import Api, apis
from fairlead.types import Outcome, RequestRecord

TENANT: Final = "~cache"
"""Whose requests they are in records: no tenant's name begins like that."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    body: bytes
    cost_microusd: int | None


class _Nobody:
    """Stands where a client's call stands, and keeps the answer."""

    __slots__ = ("answer", "body", "bytes_out", "head", "started")

    congested = False

    def __init__(self, path: str, body: bytes) -> None:
        self.head = Head(
            method="POST", target=path, path=path, query="", headers={}, http10=False, peer="",
            keep_alive=False, content_length=len(body), expects_continue=False,
        )  # fmt: skip
        self.body = body
        self.started = False
        self.bytes_out = 0
        self.answer = b""

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer."""
        self.answer = body
        self.bytes_out = len(body)
        self.started = True


class Internal:
    """The gateway as its own client, under one configuration."""

    def __init__(
        self,
        routes: RouteTable,
        dispatch: Dispatch,
        emit: Callable[[RequestRecord], None],
        tenant: str = TENANT,
    ) -> None:
        """Join the parts.

        Args:
            routes: models and their targets.
            dispatch: asks them.
            emit: takes the record of each request.
            tenant: whose requests they are in records.
        """
        self._tenant = tenant
        self._routes = routes
        self._dispatch = dispatch
        self._emit = emit
        self._ids = RequestIds()
        self._apis: dict[str, tuple[str, Api]] = {api.name: (path, api) for path, api in apis().items()}
        self._flow = Flow(names=(tenant,), weights=(1.0,), band=Band.BATCH)

    async def ask(self, model: str, api: str, body: bytes, *, timeout_s: float, extra: bytes = b"") -> Reply:
        """Ask a model, and no other in its place. For a task; the answer comes whole.

        Args:
            model: one that `models` serves.
            api: the API's name, such as `chat`.
            body: the request; it must not ask for a stream.
            timeout_s: longest wait.
            extra: more header lines for the upstream.

        Raises:
            FairleadError: no answer, or one of a fallback.
        """
        path, entry = self._apis[api]
        found = self._routes.find(model)
        if found is None:
            raise ModelNotFound(f"no route serves the model `{model[:200]}`")
        route, upstream_model = found
        nobody = _Nobody(path, body)
        ex = Exchange(self._ids(), cast(Call, nobody), entry)
        ex.tenant, ex.model, ex.route = self._tenant, route.name, route
        ex.deadline = ex.started + timeout_s
        ex.flow = self._flow
        asked = Asked(
            ex, read_head(body), upstream_model, b"x-request-id: %b\r\n%b" % (ex.id.encode(), extra)
        )
        asked.input_tokens = asked.prompt_tokens()
        try:
            async with asyncio.timeout(timeout_s):
                call = await self._dispatch.answer(ex, asked)
                deliver(ex, call, self._dispatch)
            if ex.route is not route:
                raise FairleadError(f"`{route.name}` was answered for by a fallback")
            ex.outcome = Outcome.OK
        except TimeoutError as error:
            late = UpstreamTimeout(f"`{model}` did not answer within {timeout_s:g} s")
            ex.failed(late)
            raise late from error
        except asyncio.CancelledError:
            ex.client_gone()
            raise
        except FairleadError as error:
            ex.failed(error)
            raise
        finally:
            self._emit(ex.record())
        return Reply(body=nobody.answer, cost_microusd=ex.cost_microusd())
