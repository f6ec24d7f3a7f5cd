"""What the asyncio client runs for handlers: a consumer of an inbox, and the answering of calls.

Both are a stream in two directions, read by one task, with handlers in others.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

import grpc

from . import _convert, errors, models
from ._aio_streams import being_cancelled, end, within
from ._feeds import Persistence, broken, ended, failed
from ._rpc import Origin
from ._talks import CallTalk, InboxTalk
from ._verdict import CALL_LASTS, answer, batch, lasting
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")

W = TypeVar("W", bound="Worker")

_LAST = 10.0
"""Seconds that the sidecar has to take the last answers of a worker that was closed in a handler."""

_TURN = 0.005
"""Seconds that handlers which do not wait may keep the loop for themselves."""


class Worker:
    """A stream that brings work and takes answers. It runs from the beginning until `close`, and is resumed when the sidecar restarts."""

    def __init__(
        self,
        name: str,
        workers: int,
        lasting: float,
        open_stream: Callable[[AsyncIterator[Any]], Any],
        persistence: Persistence,
        forget: Callable[[Any], None],
    ) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers: give 1 or more")
        self._name = name
        self._lasting = lasting  # seconds; work that has waited longer is no longer ours to answer
        self._open = open_stream
        self._persistence = persistence
        self._forget = forget
        self._origin = Origin()
        self._changed = asyncio.Condition()  # work, or answers, or fewer handlers that run, or the end
        self._notices: deque[Any] = deque()  # work that has no answer and belongs to no stream
        self._work: deque[tuple[float, Any]] = deque()  # of the stream that is open, each with when it is no longer ours
        self._answers: list[Any] = []
        self._epoch = 0  # counts streams: an answer belongs to the one that brought the work
        self._busy = 0  # handlers that run
        self._stopping = False
        self._failure: errors.SidecarError | None = None
        self._granted = asyncio.Event()
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._handle(), name=f"{name}-{i}") for i in range(workers)]
        self._tasks.append(loop.create_task(self._run(), name=name))
        self._running = len(self._tasks)
        for task in self._tasks:
            task.add_done_callback(self._over)

    # For those who derive from it.

    def _first(self) -> Any:
        """The request that opens the stream."""
        raise NotImplementedError

    def _batch(self, answers: list[Any]) -> Any:
        """The request that carries answers."""
        raise NotImplementedError

    def _read(self, response: Any) -> Iterable[Any]:
        """What there is to do in a response."""
        raise NotImplementedError

    async def _do(self, work: Any) -> Any:
        """Do a piece of work and return the answer, or None for none."""
        raise NotImplementedError

    # For those who use it.

    async def wait_granted(self, timeout: float) -> None:
        """Wait until the platform has granted all topics on the link that is up.

        Args:
            timeout: Seconds to wait. The device need not be online yet.

        Raises:
            DeadlineExceededError: They were not granted in time.
            ClientClosedError: It was closed.
            SidecarError: It cannot go on.
        """
        self._origin.check()
        granted = await within(self._granted.wait(), timeout)
        if self._failure is not None:
            raise self._failure
        if self._ended.is_set():
            raise errors.ClientClosedError("it is closed")
        if not granted:
            raise errors.DeadlineExceededError(f"the topics were not granted within {timeout:g} s: is the device online?")

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until it ends: until `close` is called, in a handler or another task, or it cannot go on.

        Args:
            timeout: Seconds to wait; None is without a bound.

        Raises:
            DeadlineExceededError: It goes on.
            SidecarError: What ended it.
        """
        self._origin.check()
        if not await within(self._ended.wait(), timeout):
            raise errors.DeadlineExceededError(f"it still runs after {timeout:g} s")
        if self._failure is not None:
            raise self._failure

    async def close(self, timeout: float = 10.0) -> None:
        """Take no more work, let handlers that run come to their end, send their answers, then end the stream.

        Called in a handler, it does not wait: it ends when the handlers that run have returned.

        Args:
            timeout: Seconds to wait for handlers and for the sidecar to have their answers. What has no answer then comes again.
        """
        if self._origin.forked():
            return
        self._stopping = True
        self._work.clear()  # it comes again
        try:
            await self._tell()
            if asyncio.current_task() in self._tasks:
                return
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=timeout)
        finally:  # also when it was cancelled
            if asyncio.current_task() not in self._tasks:
                self._end()
                await end(self._tasks)

    async def __aenter__(self: W) -> W:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Its tasks.

    def _over(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and not self._ended.is_set():
            self._failure = errors.InternalError("a task of it was cancelled")
            log.error("%s ended: %s", self._name, self._failure)
            self._end()
            for other in self._tasks:
                other.cancel()
        self._running -= 1
        if not self._running:
            self._forget(self)

    def _end(self) -> None:
        self._stopping = True
        self._ended.set()
        self._work.clear()
        self._granted.set()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _run(self) -> None:
        try:
            await self._persist()
        except Exception as error:
            self._failure = failed(error)
        self._end()
        await self._tell()

    async def _persist(self) -> None:
        async def stopped() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._stopping)

        while not self._stopping:
            error = await self._stream()
            if self._stopping:
                return
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                self._failure = final
                log.error("%s ended: %s", self._name, final)
                return
            await within(stopped(), pause)

    async def _stream(self) -> errors.SidecarError:
        over = asyncio.Event()
        self._persistence.opens()
        try:
            call = self._open(self._requests(over))
        except errors.SidecarError as error:
            return error
        try:
            async for response in call:
                self._persistence.works()
                self._take(response)
                await self._tell()
            return ended()
        except grpc.RpcError as error:
            return broken(error)
        finally:
            over.set()
            call.cancel()
            self._epoch += 1
            self._work.clear()  # it comes again, and so does what was answered and not sent
            self._answers.clear()
            if not self._ended.is_set():
                self._granted.clear()
            await self._tell()

    def _take(self, response: Any) -> None:
        now = time.monotonic()
        if response.granted:
            self._granted.set()
        late = 0
        while self._work and self._work[0][0] < now:
            self._work.popleft()
            late += 1
        work = [(now + self._lasting, one) for one in self._read(response)]
        if not self._stopping:
            self._work.extend(work)
        if late:
            log.warning("%s: %d waited longer than %g s for a handler", self._name, late, self._lasting)

    async def _requests(self, over: asyncio.Event) -> AsyncIterator[Any]:
        """What a stream sends. It closes this side after the last answer of one that is stopping; the sidecar then ends the stream."""
        yield self._first()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._answers or over.is_set() or (self._stopping and not self._busy))
            if over.is_set() or not self._answers:
                return
            yield self._batch(batch(self._answers))

    async def _handle(self) -> None:
        turn = time.monotonic()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._notices or self._work or self._ended.is_set())
            if self._notices:
                piece = self._notices.popleft()
            elif self._work:
                due, piece = self._work.popleft()
                if due < time.monotonic():
                    continue  # it comes again, or has come
            elif self._ended.is_set():
                return
            else:
                continue  # another was faster
            epoch = self._epoch
            self._busy += 1
            try:
                done = await self._do(piece)
            except Exception:
                log.exception("a handler failed beyond repair")
                done = None
            finally:
                self._busy -= 1
            if done is not None and epoch == self._epoch:
                self._answers.append(done)
            elif done is not None:
                log.warning("an answer came after its stream was gone: the message comes again")
            await self._tell()
            if time.monotonic() - turn > _TURN:  # a plain handler does not starve the loop, nor the sending of answers
                await asyncio.sleep(0)
                turn = time.monotonic()
            if self._stopping and not self._busy and not await within(self._ended.wait(), _LAST):
                self._end()
                self._tasks[-1].cancel()


class Consumer(InboxTalk, Worker):
    """Runs a handler for each message of an inbox. See `SidecarClient.consume`."""

    def __init__(
        self,
        handler: Callable[[models.Delivery], Any],
        open: messaging_pb2.OpenInbox,
        retry_delay: float,
        on_gap: Callable[[models.Gap], Any] | None,
        workers: int,
        *rest: Any,
    ) -> None:
        self._handler = handler
        self._inbox = open
        self._retry_delay = retry_delay
        self._on_gap = on_gap
        super().__init__(f"linkkit-sidecar-consumer-{open.inbox}", workers, lasting(open, handler, retry_delay), *rest)

    async def _do(self, work: Any) -> Any:
        if isinstance(work, models.Gap):
            if self._on_gap is not None:
                await _awaited(self._on_gap(work))
            return None
        returned: object = None
        error: BaseException | None = None
        try:
            returned = await _awaited(self._handler(models.Delivery(_convert.message(work.message), work.count, work.sequence)))
        except Exception as raised:
            error = raised
        return answer(work.delivery, returned, error, work.count, self._retry_delay)


class CallHandler(CallTalk, Worker):
    """Answers calls from the platform by a function. It can still be called as that function. See `SidecarClient.on_call`."""

    def __init__(
        self,
        handler: Callable[[models.Call], Awaitable[models.Payload] | models.Payload],
        first: messaging_pb2.AnswerCallsRequest,
        workers: int,
        *rest: Any,
    ) -> None:
        self._handler = handler
        self._opening = first
        super().__init__("linkkit-sidecar-calls", workers, CALL_LASTS, *rest)

    def __call__(self, call: models.Call) -> Awaitable[models.Payload] | models.Payload:
        return self._handler(call)

    async def _do(self, work: Any) -> Any:
        try:
            answered = _convert.payload(await _awaited(self._handler(_convert.call(work))))
        except Exception:
            log.exception("a handler of calls failed on %s: the platform gets no answer", work.topic)
            return None
        return messaging_pb2.CallAnswer(call=work.call, payload=answered)


async def _awaited(value: Any) -> Any:
    """Handlers may be coroutine functions or plain ones. What one waits for may be cancelled: that is not the end of our task."""
    try:
        return await value if inspect.isawaitable(value) else value
    except asyncio.CancelledError as error:
        if being_cancelled():
            raise
        raise RuntimeError("what the handler waited for was cancelled") from error
