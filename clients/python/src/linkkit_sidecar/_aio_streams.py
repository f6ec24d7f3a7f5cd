"""The asyncio client's streams: each has a task that reads it and a queue for the one who iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

import grpc

from . import errors, events, models
from ._feeds import EventFeed, Feed, MessageFeed, Persistence, broken, ended, failed
from ._rpc import Origin

T = TypeVar("T")
S = TypeVar("S", bound="Stream[Any]")

_AHEAD = 4  # answers that are read before the one who iterates wants them; what is beyond waits in the sidecar, which counts


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, wait for their end, and forget them.

    A task that was cancelled knows its last frames, and they the call: gRPC keeps the connection as long as somebody knows a call.
    """
    current = asyncio.current_task()
    others = [task for task in tasks if task is not current]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
    tasks.clear()


async def within(what: Coroutine[Any, Any, Any], timeout: float | None) -> bool:
    """Wait for something, and tell whether it came in time."""
    try:
        await asyncio.wait_for(what, timeout)
    except asyncio.TimeoutError:
        return False
    return True


def being_cancelled(otherwise: bool = True) -> bool:
    """Tell whether a CancelledError is meant for the current task, and not of something that it waits for; `otherwise` where it cannot be told.

    That is on Python 3.10.
    """
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return otherwise if cancelling is None else cancelling() > 0


class Stream(Generic[T]):
    """What the sidecar streams, as an async iterator.

    It never ends silently: it is resumed when the sidecar restarts, and raises when it cannot be. Iterate in one task at a time. When
    `close` is called in another, an iteration under way ends, as by a ``break``.
    """

    def __init__(self, name: str, feed: Feed[T], open_stream: Callable[[Any], Any], persistence: Persistence, forget: Callable[[Any], None]) -> None:
        self._feed = feed
        self._open = open_stream
        self._persistence = persistence
        self._origin = Origin()
        self._read: asyncio.Queue[list[T] | errors.SidecarError | None] = asyncio.Queue(_AHEAD)
        self._items: deque[T] = deque()
        self._final: errors.SidecarError | None = None  # what ended it, known before all items were taken
        self._failure: errors.SidecarError | None = None  # the same, once they were
        self._closed = False
        self._tasks = [asyncio.get_running_loop().create_task(self._pump(), name=name)]
        self._tasks[0].add_done_callback(lambda _: forget(self))

    async def _pump(self) -> None:
        try:
            await self._persist()
        except Exception as error:
            await self._fail(failed(error))
        except asyncio.CancelledError:
            if not self._closed:  # by somebody else: who iterates is not to wait for ever
                self._failure = self._final = errors.InternalError("the stream's task was cancelled")
                self._told()
                self._wake()
            raise

    async def _persist(self) -> None:
        while True:
            try:
                await self._drain()
                error: errors.SidecarError = ended()
            except grpc.RpcError as raised:
                error = broken(raised)
            except errors.SidecarError as raised:
                error = raised
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                await self._fail(final)
                return
            await asyncio.sleep(pause)

    async def _fail(self, final: errors.SidecarError) -> None:
        self._final = final
        self._told()
        await self._read.put(final)

    async def _drain(self) -> None:
        request = self._feed.request()
        self._told()
        self._persistence.opens()
        call = self._open(request)
        try:
            async for response in call:
                self._persistence.works()
                items = list(self._feed.items(response))
                self._told()
                if items:
                    await self._read.put(items)
        finally:
            call.cancel()

    def _told(self) -> None:
        """Called before the stream is opened, after each answer, and when it has failed or is closed."""

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.next(None)
        except errors.ClientClosedError:
            raise StopAsyncIteration from None

    async def next(self, timeout: float | None) -> T:
        """Return the next item.

        Args:
            timeout: Seconds to wait for it; None waits for as long as it takes.

        Raises:
            DeadlineExceededError: None came in time. The stream goes on.
            ClientClosedError: The stream was closed.
            SidecarError: The stream cannot go on.
        """
        self._origin.check()
        while not self._items:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise errors.ClientClosedError("the stream is closed")
            try:
                read = await asyncio.wait_for(self._read.get(), timeout)
            except asyncio.TimeoutError:
                raise errors.DeadlineExceededError(f"nothing came within {timeout:g} s") from None
            if isinstance(read, list):
                self._items.extend(read)
                continue
            self._failure = self._failure or read
            self._wake()  # who else waits here is to know too
        return self._items.popleft()

    def _wake(self) -> None:
        if not self._read.full():
            self._read.put_nowait(None)

    async def close(self) -> None:
        """End the stream. No item comes after it, and no task of it is left."""
        if self._origin.forked():
            return
        self._closed = True
        self._told()
        while not self._read.empty():  # make room: nobody shall wait for what is no longer told
            self._read.get_nowait()
        self._wake()
        self._items.clear()
        await end(self._tasks)

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class EventStream(Stream["events.Event | models.Gap"]):
    """Events: a `Snapshot` first, then each event, and a `Gap` where some are gone."""

    _feed: EventFeed
    _last: models.Cursor | None = None

    @property
    def cursor(self) -> models.Cursor | None:
        """The place after the last event that was taken: keep it and give it to events() as `after`. None before the first."""
        return self._last

    async def next(self, timeout: float | None) -> events.Event | models.Gap:
        item = await super().next(timeout)
        if item.cursor is not None:
            self._last = item.cursor
        return item


class MessageStream(Stream["models.Message | models.Gap"]):
    """Messages of a subscription, and a `Gap` where some are missing. The subscription lasts as long as the stream."""

    _feed: MessageFeed

    def __init__(self, *args: Any) -> None:
        self._granted = asyncio.Event()
        super().__init__(*args)

    def _told(self) -> None:
        if self._feed.granted or self._final is not None or self._closed:
            self._granted.set()
        else:
            self._granted.clear()

    async def wait_granted(self, timeout: float) -> None:
        """Wait until the platform has granted all filters: what is published from then on arrives here.

        Args:
            timeout: Seconds to wait. The device need not be online yet.

        Raises:
            DeadlineExceededError: They were not granted in time. The stream goes on.
            ClientClosedError: The stream was closed.
            SidecarError: The stream cannot go on; the platform refused a filter, say.
        """
        self._origin.check()
        granted = await within(self._granted.wait(), timeout)
        if self._final is not None:
            raise self._final
        if self._closed:
            raise errors.ClientClosedError("the stream is closed")
        if not granted:
            raise errors.DeadlineExceededError(f"the filters were not granted within {timeout:g} s: is the device online?")
