"""Lua scripts on a Redis or Valkey server (or cluster) that several processes share.

A call is one EVALSHA. Calls that are made while others are under way travel
together: a few connections each carry one batch at a time, so a call of an idle
process goes out at once and a busy one needs no connection for each request.

When the server does not answer within `timeout_s` it counts as gone: from then
on every call fails at once, nothing queues up, and one task asks until the
server is back. A call that failed may or may not have been carried out, so
scripts must bear repetition.

Calls are plain asyncio futures, because requests run without a task
(`net.run`); the client library, which needs one, stays inside this module.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fairlead.errors import ConfigError, StatementRejected, StorageError, StorageUnusable

Reply: TypeAlias = "int | bytes | list[Reply] | None"
Argument: TypeAlias = str | bytes | int

_CONNECTIONS: Final = 4
_BATCH: Final = 128
_MAX_WAITING: Final = 10_000
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_GONE: Final = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, ClusterError)
"""Answers that say something about the server rather than about one call. A server that has become
a replica is as good as gone: its address may soon lead to the new primary."""
_FAILURES: Final = (RedisError, RedisClusterException, OSError, UnicodeError)
"""All that a call can raise: time-outs are OSErrors, and UnicodeError is a host name that is none."""
_NOT_LET_IN: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class Script:
    """A Lua script and the digest that the server knows it by."""

    __slots__ = ("digest", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class _Pipeline(Protocol):
    """What this module needs of the client library's two kinds of pipeline."""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...

    async def execute(self, raise_on_error: bool = True) -> list[Any]: ...


class _Call:
    """One script call that waits for its answer."""

    __slots__ = ("args", "future", "made_at", "script")

    def __init__(
        self, script: Script, args: tuple[bytes | int, ...], future: asyncio.Future[Reply], made_at: float
    ) -> None:
        self.script = script
        self.args = args
        self.future = future
        self.made_at = made_at


class RedisServer:
    """One server, or one cluster, that runs scripts."""

    def __init__(
        self, url: str, *, timeout_s: float = 0.5, cluster: bool = False, option: str = "limits.redis.url"
    ) -> None:
        """Prepare, without connecting: a server that is not there yet is treated like one that is gone.

        Args:
            url: `redis://`, `rediss://` (TLS) or `unix://`, with credentials and the library's options.
            timeout_s: longest time from a call to its answer.
            cluster: the URL is of any node of a cluster.
            option: where the configuration has the URL, for messages.

        Raises:
            ConfigError: the URL is not one of a Redis server. It is not repeated: it may hold a password.
        """
        self.name = _public_name(url, option)
        self._option = option
        self._timeout_s = timeout_s
        self._client = _client(url, cluster, option)
        self._waiting: deque[_Call] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._returned = asyncio.Event()
        self._returned.set()
        self._why_down: StorageError | None = None
        self._up_since = 0.0
        self._closed = False
        self.outages = 0
        """Times that the server was found gone."""

    @property
    def up(self) -> bool:
        """False from a failed call until the server answers again; true before the first call."""
        return self._why_down is None and not self._closed

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()
    ) -> asyncio.Future[Reply]:
        """Run a script. The future fails with StorageError, at once when the server is known to be gone.

        A call that is cancelled before it was sent is not made.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(StorageError(f"store {self.name} is closed"))
        elif self._why_down is not None:
            future.set_exception(self._failure(self._why_down))
        elif len(self._waiting) >= _MAX_WAITING:
            future.set_exception(StorageError(f"store {self.name}: too many calls are waiting"))
        else:
            try:
                encoded = tuple(_encoded(one) for one in (*keys, *args))
            except UnicodeEncodeError:
                # Not to be found out while it is packed: that would fail the whole batch.
                future.set_exception(StatementRejected(f"store {self.name}: text that is not Unicode"))
                return future
            self._waiting.append(_Call(script, (len(keys), *encoded), future, time.monotonic()))
            self._send_more()
        return future

    async def check(self) -> None:
        """Ask the server for a sign of life. For the start; raises StorageError with what is wrong."""
        await asyncio.get_running_loop().create_task(self._ping())

    async def wait_until_up(self) -> None:
        """Return when the server is not known to be gone. For tasks."""
        await self._returned.wait()

    async def close(self) -> None:
        """Finish what is under way, within the time-out, and disconnect. Later calls fail."""
        deadline = time.monotonic() + self._timeout_s
        while self._sending and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._sending, timeout=left)
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, *filter(None, [self._watch]), return_exceptions=True)
        self._fail_waiting(StorageError(f"store {self.name} is closed"))
        await self._client.aclose()

    # --- sending ----------------------------------------------------------------------------

    def _send_more(self) -> None:
        if self._waiting and len(self._sending) < _CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._send_batch(), name="redis-batch")
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not a failure of the server, which the task handles: a bug, told like any task's.
            task.get_loop().call_exception_handler(
                {"message": "a batch of script calls failed", "exception": error, "task": task}
            )
        if not self._closed:
            self._send_more()

    async def _send_batch(self) -> None:
        batch = self._take_batch()
        if not batch:
            return
        started = time.monotonic()
        failure = StorageError(f"store {self.name}: the call was not finished")
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._execute(batch, with_source=False)
                unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
                if unknown:
                    # A restarted server has forgotten the script, and nothing was run. EVAL also teaches it.
                    again = await self._execute([batch[index] for index in unknown], with_source=True)
                    for index, reply in zip(unknown, again, strict=True):
                        replies[index] = reply
            for call, reply in zip(batch, replies, strict=True):
                self._deliver(call, reply, started)
        except _FAILURES as error:
            failure = self._translate(error)
            self._gone(failure, started)
        finally:
            for call in batch:
                if not call.future.done():
                    call.future.set_exception(self._failure(failure))

    def _take_batch(self) -> list[_Call]:
        """Calls whose caller is still there and has not waited too long already."""
        batch: list[_Call] = []
        oldest = time.monotonic() - self._timeout_s
        while self._waiting and len(batch) < _BATCH:
            call = self._waiting.popleft()
            if call.future.done():
                continue
            if call.made_at < oldest:
                call.future.set_exception(StorageError(f"store {self.name}: no connection was free"))
                continue
            batch.append(call)
        return batch

    async def _execute(self, batch: Sequence[_Call], *, with_source: bool) -> list[Any]:
        pipeline: _Pipeline = self._client.pipeline(transaction=False)
        for call in batch:
            if with_source:
                pipeline.execute_command("EVAL", call.script.source, *call.args)
            else:
                pipeline.execute_command("EVALSHA", call.script.digest, *call.args)
        return await pipeline.execute(raise_on_error=False)

    def _deliver(self, call: _Call, reply: Any, started: float) -> None:
        if isinstance(reply, Exception):
            failure = self._translate(reply)
            if isinstance(reply, _GONE):
                self._gone(failure, started)
            if not call.future.done():
                call.future.set_exception(failure)
        elif not call.future.done():
            call.future.set_result(reply)

    # --- gone and back ----------------------------------------------------------------------

    def _gone(self, failure: StorageError, started: float) -> None:
        """From now on fail at once, until the server answers. News from before its return are ignored."""
        if self._why_down is not None or self._closed or started < self._up_since:
            return
        self._why_down = failure
        self._returned.clear()
        self.outages += 1
        self._fail_waiting(failure)
        self._watch = asyncio.get_running_loop().create_task(self._wait_for_return(), name="redis-return")

    def _fail_waiting(self, failure: StorageError) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(self._failure(failure))

    async def _wait_for_return(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._ping()
            except StorageError as failure:
                self._why_down = failure
            else:
                self._why_down = None
                self._up_since = time.monotonic()
                self._returned.set()
                return
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _ping(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.ping()
        except _FAILURES as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> StorageError:
        if isinstance(error, _NOT_LET_IN):
            return StorageUnusable(
                f"store {self.name} does not let us in",
                hint=f"check user name and password in `{self._option}`, and what the user may do",
            )
        if isinstance(error, ResponseError) and not isinstance(error, _GONE):
            return StatementRejected(f"store {self.name} refused a script ({error})")
        if isinstance(error, TimeoutError) and not str(error):
            return StorageError(f"store {self.name} did not answer within {self._timeout_s:g} s")
        return StorageError(f"store {self.name} cannot be reached ({error})")

    @staticmethod
    def _failure(failure: StorageError) -> StorageError:
        """The same failure as an exception of its own: each is raised, and gets a traceback, once."""
        return type(failure)(failure.message, hint=failure.hint)


def _client(url: str, cluster: bool, option: str) -> Any:
    """The library's client; its own retries and time-outs are off, ours are around it."""
    retry = Retry(NoBackoff(), 0)
    try:
        if cluster:
            return RedisCluster.from_url(url, retry=retry, protocol=2)
        return Redis.from_url(
            url,
            retry=retry,
            protocol=2,
            socket_timeout=None,
            max_connections=_CONNECTIONS + 2,
        )
    except (ValueError, TypeError) as error:
        raise _not_a_url(option) from error


def _public_name(url: str, option: str) -> str:
    """Where the server is, without credentials and options."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _not_a_url(option) from None
    if parts.scheme == "unix" and parts.path:
        return f"unix:{parts.path}"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise _not_a_url(option)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or 6379}{parts.path.rstrip('/')}"


def _not_a_url(option: str) -> ConfigError:
    return ConfigError(
        "this is not the URL of a Redis or Valkey server",
        param=option,
        hint="write redis://[USER:PASSWORD@]HOST:PORT/DATABASE, or rediss:// for TLS",
    )


def _encoded(argument: Argument) -> bytes | int:
    return argument.encode() if isinstance(argument, str) else argument
