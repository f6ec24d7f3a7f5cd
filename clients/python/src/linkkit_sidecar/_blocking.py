"""The blocking client's streams: each has a thread that reads it and a queue for the one who iterates."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import grpc

from . import errors, events, models
from ._feeds import EventFeed, Feed, MessageFeed, Persistence, broken, ended, failed
from ._rpc import Origin

T = TypeVar("T")
S = TypeVar("S", bound="Stream[Any]")

_AHEAD = 4  # answers that are read before the one who iterates wants them; what is beyond waits in the sidecar, which counts


class Stream(Generic[T]):
    """What the sidecar streams, as an iterator. It never ends silently: it is resumed when the sidecar restarts, and raises when it cannot be.

    Iterate in one thread at a time. `close` may be called from any; an iteration under way then ends, as by a ``break``.
    """

    def __init__(self, name: str, feed: Feed[T], open_stream: Callable[[Any], Any], persistence: Persistence, forget: Callable[[Any], None]) -> None:
        self._feed = feed
        self._open = open_stream
        self._persistence = persistence
        self._forget = forget
        self._origin = Origin()
        self._read: queue.Queue[list[T] | errors.SidecarError | None] = queue.Queue(_AHEAD)
        self._items: deque[T] = deque()
        self._final: errors.SidecarError | None = None  # what ended it, known before all items were taken
        self._failure: errors.SidecarError | None = None  # the same, once they were
        self._call: Any = None
        self._lock = threading.Lock()  # orders making a call and cancelling it
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._pump, name=name, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        try:
            self._persist()
        except Exception as error:
            self._fail(failed(error))
        finally:
            self._forget(self)

    def _persist(self) -> None:
        while not self._closed.is_set():
            try:
                self._drain()
                error: errors.SidecarError = ended()
            except grpc.RpcError as raised:
                error = broken(raised)
            except errors.SidecarError as raised:
                error = raised
            try:
                pause = 0.0 if self._closed.is_set() else self._persistence.pause_after(error)
            except errors.SidecarError as final:
                self._fail(final)
                return
            self._closed.wait(pause)

    def _fail(self, final: errors.SidecarError) -> None:
        self._final = final
        self._told()
        self._put(final)

    def _drain(self) -> None:
        request = self._feed.request()
        self._told()
        with self._lock:
            if self._closed.is_set():
                return
            self._persistence.opens()
            call = self._call = self._open(request)
        try:
            for response in call:
                self._persistence.works()
                items = list(self._feed.items(response))
                self._told()
                if items:
                    self._put(items)
        finally:
            call.cancel()

    def _told(self) -> None:
        """Called before the stream is opened, after each answer, and when it has failed or is closed."""

    def _put(self, items: list[T] | errors.SidecarError) -> None:
        while not self._closed.is_set():
            try:
                self._read.put(items, timeout=1)
            except queue.Full:
                continue  # the one who iterates is slow; look again whether there still is one
            return

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self.next(None)
        except errors.ClientClosedError:
            raise StopIteration from None

    def next(self, timeout: float | None) -> T:
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
            if self._closed.is_set():
                raise errors.ClientClosedError("the stream is closed")
            try:
                read = self._read.get(timeout=timeout)
            except queue.Empty:
                raise errors.DeadlineExceededError(f"nothing came within {timeout:g} s") from None
            if isinstance(read, list):
                self._items.extend(read)
                continue
            self._failure = self._failure or read
            self._wake()  # who else waits here is to know too
        return self._items.popleft()

    def _wake(self) -> None:
        with contextlib.suppress(queue.Full):
            self._read.put_nowait(None)

    def close(self) -> None:
        """End the stream. No item comes after it, and no thread of it is left."""
        if self._origin.forked():
            return
        with self._lock:
            self._closed.set()
            if self._call is not None:
                self._call.cancel()
        self._told()
        with contextlib.suppress(queue.Empty):  # make room: nobody shall wait for what is no longer told
            while True:
                self._read.get_nowait()
        self._wake()
        self._thread.join()
        self._items.clear()

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class EventStream(Stream["events.Event | models.Gap"]):
    """Events: a `Snapshot` first, then each event, and a `Gap` where some are gone."""

    _feed: EventFeed
    _last: models.Cursor | None = None

    @property
    def cursor(self) -> models.Cursor | None:
        """The place after the last event that was taken: keep it and give it to events() as `after`. None before the first."""
        return self._last

    def next(self, timeout: float | None) -> events.Event | models.Gap:
        item = super().next(timeout)
        if item.cursor is not None:
            self._last = item.cursor
        return item


class MessageStream(Stream["models.Message | models.Gap"]):
    """Messages of a subscription, and a `Gap` where some are missing. The subscription lasts as long as the stream."""

    _feed: MessageFeed

    def __init__(self, *args: Any) -> None:
        self._granted = threading.Event()
        super().__init__(*args)

    def _told(self) -> None:
        if self._feed.granted or self._final is not None or self._closed.is_set():
            self._granted.set()
        else:
            self._granted.clear()

    def wait_granted(self, timeout: float) -> None:
        """Wait until the platform has granted all filters: what is published from then on arrives here.

        Args:
            timeout: Seconds to wait. The device need not be online yet.

        Raises:
            DeadlineExceededError: They were not granted in time. The stream goes on.
            ClientClosedError: The stream was closed.
            SidecarError: The stream cannot go on; the platform refused a filter, say.
        """
        self._origin.check()
        granted = self._granted.wait(timeout)
        if self._final is not None:
            raise self._final
        if self._closed.is_set():
            raise errors.ClientClosedError("the stream is closed")
        if not granted:
            raise errors.DeadlineExceededError(f"the filters were not granted within {timeout:g} s: is the device online?")
