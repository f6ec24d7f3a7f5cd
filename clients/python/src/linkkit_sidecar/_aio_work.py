"""What the asyncio client runs for handlers: a consumer of an inbox, and the answering of calls.

Both are a stream in two directions, read by one task, with handlers in others.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc

from . import _convert, errors, models
from ._aio_streams import end
from ._feeds import Persistence, broken, ended
from ._verdict import answer
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")

W = TypeVar("W", bound="Worker")


class Worker:
    """A stream that brings work and takes answers. It runs from the beginning until `close`, and is resumed when the sidecar restarts."""

    def __init__(
        self,
        name: str,
        workers: int,
        open_stream: Callable[[AsyncIterator[Any]], Any],
        persistence: Persistence,
        forget: Callable[[Any], None],
    ) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers: give 1 or more")
        self._open = open_stream
        self._persistence = persistence
        self._forget = forget
        self._work: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._answers: list[Any] = []
        self._epoch = 0  # counts streams: an answer belongs to the one that brought the work
        self._busy = 0  # handlers that run
        self._unsettled = 0  # answers that were sent and not told to be on disk, or handed out
        self._stopping = False
        self._failure: errors.SidecarError | None = None
        self._granted = asyncio.Event()
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._name = name
        self._handlers = [loop.create_task(self._handle(), name=f"{name}-{i}") for i in range(workers)]
        self._tasks = [*self._handlers, loop.create_task(self._run(), name=name)]
        self._finishing: asyncio.Task[None] | None = None

    # For those who derive from it.

    def _first(self) -> Any:
        """The request that opens the stream."""
        raise NotImplementedError

    def _batch(self, answers: list[Any]) -> Any:
        """The request that carries answers."""
        raise NotImplementedError

    def _read(self, response: Any) -> Iterator[Any]:
        """What there is to do in a response. `self._unsettled` is for it to count down."""
        raise NotImplementedError

    async def _do(self, work: Any) -> Any:
        """Do a piece of work and return the answer, or None for none."""
        raise NotImplementedError

    def _settles(self, answer: Any) -> bool:
        """Whether the sidecar tells what became of this answer."""
        return True

    # For those who use it.

    async def wait_granted(self, timeout: float) -> None:
        """Wait until the platform has granted all topics on the link that is up.

        Args:
            timeout: Seconds to wait. The device need not be online yet.

        Raises:
            DeadlineExceededError: They were not granted in time.
            SidecarError: It cannot go on.
        """
        granted = await _within(self._granted.wait(), timeout)
        if self._failure is not None:
            raise self._failure
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
        if not await _within(self._ended.wait(), timeout):
            raise errors.DeadlineExceededError(f"it still runs after {timeout:g} s")
        if self._failure is not None:
            raise self._failure

    async def close(self, timeout: float = 10.0) -> None:
        """Take no more work, let handlers that run come to their end, send their answers, then end the stream.

        Args:
            timeout: Seconds to wait for handlers and for answers to be on disk. What has no answer then comes again.
        """
        self._stopping = True
        if asyncio.current_task() in self._handlers:
            return  # a handler cannot wait for itself: it ends when the handler has returned
        await self._settle(timeout)
        await self._end()
        self._forget(self)

    async def __aenter__(self: W) -> W:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Its tasks.

    async def _settle(self, timeout: float) -> None:
        async def idle() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._ended.is_set() or not (self._busy or self._answers or self._unsettled))

        await _within(idle(), timeout)

    async def _end(self) -> None:
        self._stopping = True
        self._ended.set()
        self._granted.set()
        self._handlers.clear()
        await end(self._tasks)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _run(self) -> None:
        while True:
            error = await self._stream()
            self._answers.clear()  # of deliveries that come again
            self._unsettled = 0
            await self._tell()
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                self._failure = final
                log.error("%s ended: %s", self._name, final)
                await self._end()
                return
            await asyncio.sleep(pause)

    async def _stream(self) -> errors.SidecarError:
        self._epoch += 1
        over = asyncio.Event()
        try:
            call = self._open(self._requests(over))
        except errors.SidecarError as error:
            return error
        try:
            async for response in call:
                self._persistence.works()
                if response.granted:
                    self._granted.set()
                for one in self._read(response):
                    self._work.put_nowait((self._epoch, one))
                await self._tell()
            return ended()
        except grpc.RpcError as error:
            return broken(error)
        finally:
            over.set()
            call.cancel()

    async def _requests(self, over: asyncio.Event) -> AsyncIterator[Any]:
        """What a stream sends, until it is over."""
        yield self._first()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._answers or over.is_set())
            if over.is_set():
                return
            answers, self._answers = self._answers, []
            self._unsettled += sum(map(self._settles, answers))
            yield self._batch(answers)

    async def _handle(self) -> None:
        while True:
            epoch, piece = await self._work.get()
            if self._stopping or epoch != self._epoch:
                continue  # it comes again
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
            if self._stopping and not self._busy and self._finishing is None:
                self._finishing = asyncio.get_running_loop().create_task(self._finish())

    async def _finish(self) -> None:
        """End it after the last handler of a worker that is stopping, when `close` was called inside a handler."""
        await self._settle(10.0)
        await self._end()


class Consumer(Worker):
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
        super().__init__(f"linkkit-sidecar-consumer-{open.inbox}", workers, *rest)

    def _first(self) -> messaging_pb2.ConsumeRequest:
        return messaging_pb2.ConsumeRequest(open=self._inbox)

    def _batch(self, answers: list[Any]) -> messaging_pb2.ConsumeRequest:
        return messaging_pb2.ConsumeRequest(answers=answers)

    def _settles(self, answer: Any) -> bool:
        return bool(answer.verdict != messaging_pb2.VERDICT_RETRY)  # of these nothing more is heard but that one came too late

    def _read(self, response: messaging_pb2.ConsumeResponse) -> Iterator[Any]:
        self._unsettled = max(0, self._unsettled - len(response.settled) - len(response.stale))
        if response.stale:
            log.warning("%d answers to inbox %s came too late: those messages come again", len(response.stale), self._inbox.inbox)
        if response.missed:
            yield models.Gap(response.missed, f"inbox {self._inbox.inbox} dropped messages to make room, or found them damaged")
        yield from response.deliveries

    async def _do(self, work: Any) -> Any:
        if isinstance(work, models.Gap):
            log.warning("%d messages are missing: %s", work.missed, work.detail)
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


class CallHandler(Worker):
    """Answers calls from the platform by a function. It can still be called as that function. See `SidecarClient.on_call`."""

    def __init__(
        self,
        handler: Callable[[models.Call], Awaitable[bytes | str] | bytes | str],
        first: messaging_pb2.AnswerCallsRequest,
        workers: int,
        *rest: Any,
    ) -> None:
        self._handler = handler
        self._opening = first
        super().__init__("linkkit-sidecar-calls", workers, *rest)

    def __call__(self, call: models.Call) -> Awaitable[bytes | str] | bytes | str:
        return self._handler(call)

    def _first(self) -> messaging_pb2.AnswerCallsRequest:
        return self._opening

    def _batch(self, answers: list[Any]) -> messaging_pb2.AnswerCallsRequest:
        return messaging_pb2.AnswerCallsRequest(answers=answers)

    def _read(self, response: messaging_pb2.AnswerCallsResponse) -> Iterator[Any]:
        self._unsettled = max(0, self._unsettled - len(response.results))
        for result in response.results:
            if result.outcome == messaging_pb2.OUTCOME_FAILED:
                log.warning("the answer to a call was not sent: %s [%s]", result.detail, _convert.reason_name(result.reason))
        return iter(response.calls)

    async def _do(self, work: Any) -> Any:
        try:
            payload = await _awaited(self._handler(_convert.call(work)))
        except Exception:
            log.exception("a handler of calls failed on %s: the platform gets no answer", work.topic)
            return None
        if isinstance(payload, str):
            payload = payload.encode()
        if not isinstance(payload, bytes):
            log.error("a handler of calls returned %s: return bytes or str; the platform gets no answer", type(payload).__name__)
            return None
        return messaging_pb2.CallAnswer(call=work.call, payload=payload)


async def _awaited(value: Any) -> Any:
    """Handlers may be coroutine functions or plain ones."""
    return await value if inspect.isawaitable(value) else value


async def _within(what: Awaitable[Any], timeout: float | None) -> bool:
    """Wait for something, and tell whether it came in time."""
    try:
        await asyncio.wait_for(what, timeout)
    except asyncio.TimeoutError:
        return False
    return True
