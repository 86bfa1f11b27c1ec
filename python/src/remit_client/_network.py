"""Requests, pauses and callbacks as steps, so that one text of the protocol serves both kinds of program.

A flow is a generator that yields steps and is sent what came of them. ``Network.run`` does the steps in this
thread, ``Network.arun`` in the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakValueDictionary

import httpx2 as httpx

from .errors import Unavailable

T = TypeVar("T")
Flow = Generator["Step", Any, T]

_megabyte: Final = 1 << 20


@dataclass(frozen=True)
class Send:
    """One request. No redirect is followed: a token goes where it was meant to, or nowhere."""

    method: str
    url: str
    # Prints no credentials.
    headers: httpx.Headers
    deadline: float
    """Of ``time.monotonic()``."""
    content: bytes | None = field(default=None, repr=False)
    bytes_max: int = 32 * _megabyte


@dataclass(frozen=True)
class Pause:
    """So many seconds."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """Something that the app gave: a function, or in an event loop a coroutine function."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Alone:
    """A flow that no other one with the same key overlaps in this process, in threads and loops alike."""

    key: Hashable
    flow: Flow[Any]
    is_finished: bool = False
    """Also where the caller gives up meanwhile: it spends what is worth nothing afterwards."""


Step = Send | Pause | Call | Alone


@dataclass(frozen=True)
class Answer:
    """What came back, its body read."""

    status: int
    headers: httpx.Headers
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """The JSON value; None where it is none, which fits no shape."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


class Network:
    """Does the steps of flows. ``options`` go to the HTTP clients as they are (``verify``, ``proxy``, …)."""

    def __init__(self, **options: Any) -> None:
        # A cookie would be sent again with the next request, which may be somebody else's: none is kept.
        none = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._options = {**options, "follow_redirects": False, "cookies": none}
        self._client: httpx.Client | None = None
        # Connections belong to the loop that opened them, and an app may run one loop after the other.
        self._async_clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
        self._guard = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, flow: Flow[T]) -> T:
        """What the flow comes to."""
        try:
            return self._run(flow)
        except Exception as error:
            raised = error
        try:
            raise _bare(raised)
        finally:
            del raised

    async def arun(self, flow: Flow[T]) -> T:
        """What the flow comes to, without blocking the loop."""
        try:
            return await self._arun(flow)
        except Exception as error:
            raised = error
        try:
            raise _bare(raised)
        finally:
            del raised

    def _run(self, flow: Flow[T]) -> T:
        came: Any = None
        fault: Exception | None = None
        try:
            while True:
                step = flow.send(came) if fault is None else flow.throw(fault)
                came = fault = None
                # Thrown where nothing is being handled: else it would stand behind whatever comes next.
                try:
                    came = self._do(step)
                except Exception as error:
                    fault = error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            fault = None
            flow.close()

    async def _arun(self, flow: Flow[T]) -> T:
        came: Any = None
        fault: Exception | None = None
        try:
            while True:
                step = flow.send(came) if fault is None else flow.throw(fault)
                came = fault = None
                try:
                    came = await self._ado(step)
                except Exception as error:
                    fault = error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            fault = None
            flow.close()

    def _do(self, step: Step) -> Any:
        match step:
            case Send():
                return self._send(step)
            case Pause(seconds):
                return time.sleep(seconds)
            case Call(function, arguments):
                came = _called(function, arguments)
                if inspect.isawaitable(came):
                    if inspect.iscoroutine(came):
                        came.close()
                    raise TypeError("A coroutine function is for the methods that are awaited.")
                return came
            case Alone(key, flow):
                lock = _lock_of(key)
                with lock.held_by_thread():
                    return self._run(flow)

    async def _ado(self, step: Step) -> Any:
        match step:
            case Send():
                return await self._asend(step)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Call(function, arguments):
                came = _called(function, arguments)
                return await _acalled(came) if inspect.isawaitable(came) else came
            case Alone(key, flow, is_finished):
                if not is_finished:
                    return await self._alone(key, flow)
                # A loop holds its tasks weakly.
                task = asyncio.create_task(self._alone(key, flow))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return await asyncio.shield(task)

    async def _alone(self, key: Hashable, flow: Flow[T]) -> T:
        lock = _lock_of(key)
        async with lock.held_by_loop():
            return await self._arun(flow)

    def _send(self, step: Send) -> Answer:
        body = bytearray()
        try:
            with self._sync_client().stream(**_sent(step)) as answer:
                for part in answer.iter_bytes():
                    _take(step, body, part)
                return Answer(answer.status_code, answer.headers, bytes(body))
        except httpx.HTTPError as error:
            fault = _no_answer(step, error)
        # Raised where nothing is in flight: what it quotes is the request, which holds the token.
        raise fault

    async def _asend(self, step: Send) -> Answer:
        body = bytearray()
        sent = _sent(step)
        try:
            # The client's limit is one of each of its steps.
            async with asyncio.timeout(sent["timeout"]), self._async_client().stream(**sent) as answer:
                async for part in answer.aiter_bytes():
                    _take(step, body, part)
                return Answer(answer.status_code, answer.headers, bytes(body))
        except (httpx.HTTPError, TimeoutError) as error:
            fault = _no_answer(step, error)
        raise fault

    def _sync_client(self) -> httpx.Client:
        with self._guard:
            if self._client is None:
                self._client = httpx.Client(**self._options)
            return self._client

    def _async_client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        with self._guard:
            if loop not in self._async_clients:
                for old in [one for one in self._async_clients if one.is_closed()]:
                    del self._async_clients[old]
                self._async_clients[loop] = httpx.AsyncClient(**self._options)
            return self._async_clients[loop]

    def close(self) -> None:
        """Closes the connections of blocking calls."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Closes all connections of this loop, and those of blocking calls.

        Not before a renewal that is under way has ended: the token that it brings would be lost.
        """
        self.close()
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(task for task in list(self._tasks) if task.get_loop() is loop), return_exceptions=True
        )
        with self._guard:
            client = self._async_clients.pop(loop, None)
        if client is not None:
            await client.aclose()


class _Lock:
    """One for threads and event loops alike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that holds it."""
        self._turns = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]()

    @contextmanager
    def held_by_thread(self) -> Iterator[None]:
        own = asyncio._get_running_loop()
        while not self._lock.acquire(timeout=_look_seconds):
            if own is not None and self._loop is own:
                # Nothing goes on in the loop until this call has ended.
                raise Unavailable(
                    message="This thread's event loop is getting the token: await the call instead.",
                    code="unavailable",
                    retry_after=1,
                )
        try:
            yield
        finally:
            self._lock.release()

    @asynccontextmanager
    async def held_by_loop(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        # One of each loop looks, the others wait for it.
        async with self._turns.setdefault(loop, asyncio.Lock()):
            # Waiting for it in a thread could take the threads that its holder needs.
            while not self._lock.acquire(blocking=False):  # noqa: ASYNC110
                await asyncio.sleep(_look_seconds)
            self._loop = loop
            try:
                yield
            finally:
                self._loop = None
                self._lock.release()


_look_seconds: Final = 0.02
_locks: Final = WeakValueDictionary[Hashable, _Lock]()
_locks_guard: Final = threading.Lock()


def _lock_of(key: Hashable) -> _Lock:
    """The same one for everybody who holds it, whichever service they ask."""
    with _locks_guard:
        return _locks.setdefault(key, _Lock())


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


async def _acalled(came: Awaitable[Any]) -> Any:
    return await came


def _bare(error: Exception) -> Exception:
    """The error without our frames, whose variables hold tokens; those of the app's own function stay."""
    frame = error.__traceback__
    is_ours, kept = True, None
    while frame is not None:
        if frame.tb_frame.f_code in (_called.__code__, _acalled.__code__):
            is_ours, kept = False, frame.tb_next
        frame = frame.tb_next
    if is_ours:
        error.__cause__ = error.__context__ = None
    return error.with_traceback(kept)


def _sent(step: Send) -> dict[str, Any]:
    left = step.deadline - time.monotonic()
    if left <= 0:
        raise _no_answer(step, TimeoutError())
    return {
        "method": step.method,
        "url": step.url,
        "headers": step.headers,
        "content": step.content,
        "timeout": left,
    }


def _take(step: Send, body: bytearray, part: bytes) -> None:
    if time.monotonic() > step.deadline:
        raise _no_answer(step, TimeoutError())
    body += part
    if len(body) > step.bytes_max:
        raise Unavailable(message=f"The answer of {_host(step)} is too large.", code="unavailable")


def _no_answer(step: Send, error: Exception) -> Unavailable:
    """Says whose answer, and what kind of thing went wrong; what the error says quotes the request."""
    is_late = isinstance(error, TimeoutError | httpx.TimeoutException)
    why = "in time" if is_late else f"({type(error).__name__})"
    return Unavailable(message=f"{_host(step)} gave no answer {why}.", code="unavailable")


def _host(step: Send) -> str:
    return urlsplit(step.url).netloc


def fetch_json(url: str) -> Flow[dict[str, Any] | None]:
    """A small JSON object; None for whatever goes wrong, any status but 200 included."""
    deadline = time.monotonic() + 5
    headers = httpx.Headers({"accept": "application/json"})
    try:
        answer: Answer = yield Send("GET", url, headers, deadline, bytes_max=_megabyte // 4)
    except Unavailable:
        return None
    value = answer.json() if answer.status == 200 else None
    return value if isinstance(value, dict) else None
