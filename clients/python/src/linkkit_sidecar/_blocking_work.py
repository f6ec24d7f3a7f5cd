"""What the blocking client runs for handlers: a consumer of an inbox, and the answering of calls.

Both are a stream in two directions, read by one thread, with handlers on others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc

from . import _convert, errors, models
from ._feeds import Persistence, broken, ended, failed
from ._rpc import Deadline, Origin
from ._talks import CallTalk, InboxTalk
from ._verdict import CALL_LASTS, answer, batch, lasting
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")

W = TypeVar("W", bound="Worker")

_LAST = 10.0
"""Seconds that the sidecar has to take the last answers of a worker that was closed in a handler."""


class Worker:
    """A stream that brings work and takes answers. It runs from the beginning until `close`, and is resumed when the sidecar restarts."""

    def __init__(
        self,
        name: str,
        workers: int,
        lasting: float,
        open_stream: Callable[[Iterator[Any]], Any],
        persistence: Persistence,
        forget: Callable[[Any], None],
    ) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers: give 1 or more")
        self._lasting = lasting  # seconds; work that has waited longer is no longer ours to answer
        self._open = open_stream
        self._persistence = persistence
        self._forget = forget
        self._origin = Origin()
        self._lock = threading.Lock()
        self._todo = threading.Condition(self._lock)  # work, or the end
        self._changed = threading.Condition(self._lock)  # answers, or fewer handlers that run, or the end
        self._notices: deque[Any] = deque()  # work that has no answer and belongs to no stream
        self._work: deque[tuple[float, Any]] = deque()  # of the stream that is open, each with when it is no longer ours
        self._answers: list[Any] = []
        self._epoch = 0  # counts streams: an answer belongs to the one that brought the work
        self._busy = 0  # handlers that run
        self._stopping = threading.Event()
        self._failure: errors.SidecarError | None = None
        self._granted = threading.Event()
        self._ended = threading.Event()
        self._call: Any = None
        self._threads = [threading.Thread(target=self._thread, args=(self._handle,), name=f"{name}-{i}", daemon=True) for i in range(workers)]
        self._threads.append(threading.Thread(target=self._thread, args=(self._run,), name=name, daemon=True))
        self._running = len(self._threads)
        for thread in self._threads:
            thread.start()

    # For those who derive from it.

    def _first(self) -> Any:
        """The request that opens the stream."""
        raise NotImplementedError

    def _batch(self, answers: list[Any]) -> Any:
        """The request that carries answers."""
        raise NotImplementedError

    def _read(self, response: Any) -> Iterable[Any]:
        """What there is to do in a response; the lock is held."""
        raise NotImplementedError

    def _do(self, work: Any) -> Any:
        """Do a piece of work and return the answer, or None for none."""
        raise NotImplementedError

    # For those who use it.

    def wait_granted(self, timeout: float) -> None:
        """Wait until the platform has granted all topics on the link that is up.

        Args:
            timeout: Seconds to wait. The device need not be online yet.

        Raises:
            DeadlineExceededError: They were not granted in time.
            ClientClosedError: It was closed.
            SidecarError: It cannot go on.
        """
        self._origin.check()
        granted = self._granted.wait(timeout)
        if self._failure is not None:
            raise self._failure
        if self._ended.is_set():
            raise errors.ClientClosedError("it is closed")
        if not granted:
            raise errors.DeadlineExceededError(f"the topics were not granted within {timeout:g} s: is the device online?")

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it ends: until `close` is called, in a handler or another thread, or it cannot go on.

        Args:
            timeout: Seconds to wait; None is without a bound.

        Raises:
            DeadlineExceededError: It goes on.
            SidecarError: What ended it.
        """
        self._origin.check()
        if not self._ended.wait(timeout):
            raise errors.DeadlineExceededError(f"it still runs after {timeout:g} s")
        if self._failure is not None:
            raise self._failure

    def close(self, timeout: float = 10.0) -> None:
        """Take no more work, let handlers that run come to their end, send their answers, then end the stream.

        Called in a handler, it does not wait: it ends when the handlers that run have returned.

        Args:
            timeout: Seconds to wait for handlers and for the sidecar to have their answers. What has no answer then comes again.
        """
        if self._origin.forked():
            return
        deadline = Deadline(timeout)
        with self._lock:
            self._stopping.set()
            self._work.clear()  # it comes again
            self._changed.notify_all()
        if threading.current_thread() in self._threads:
            return
        try:
            self._ended.wait(timeout)
        finally:  # also when it was interrupted
            self._end()
        for thread in self._threads:
            thread.join(max(0.1, deadline.left()))
        if any(thread.is_alive() for thread in self._threads):
            log.warning("%s was closed and a handler still runs after %g s", self._threads[-1].name, timeout)

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Its threads.

    def _thread(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._failure = failed(error)
            self._end()
        with self._lock:
            self._running -= 1
            last = not self._running
        if last:
            self._forget(self)

    def _end(self) -> None:
        with self._lock:
            self._stopping.set()
            self._ended.set()
            self._work.clear()
            self._todo.notify_all()
            self._changed.notify_all()
            call = self._call
        if call is not None:
            call.cancel()
        self._granted.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            error = self._stream()
            if self._stopping.is_set():
                break
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                self._failure = final
                log.error("%s ended: %s", threading.current_thread().name, final)
                break
            with self._lock:
                self._changed.wait_for(self._stopping.is_set, pause)
        self._end()

    def _stream(self) -> errors.SidecarError:
        over = threading.Event()
        self._persistence.opens()
        try:
            call = self._open(self._requests(over))
        except errors.SidecarError as error:
            over.set()
            return error
        with self._lock:
            self._call = call
            if self._ended.is_set():
                call.cancel()
        try:
            for response in call:
                self._persistence.works()
                self._take(response)
            return ended()
        except grpc.RpcError as error:
            return broken(error)
        finally:
            call.cancel()
            with self._lock:
                self._call = None
                self._epoch += 1
                self._work.clear()  # it comes again, and so does what was answered and not sent
                self._answers.clear()
                if not self._ended.is_set():
                    self._granted.clear()
                over.set()
                self._changed.notify_all()

    def _take(self, response: Any) -> None:
        now = time.monotonic()
        with self._lock:
            if response.granted:
                self._granted.set()
            late = 0
            while self._work and self._work[0][0] < now:
                self._work.popleft()
                late += 1
            work = [(now + self._lasting, one) for one in self._read(response)]
            if not self._stopping.is_set():
                self._work.extend(work)
            self._todo.notify_all()
        if late:
            log.warning("%s: %d waited longer than %g s for a handler", threading.current_thread().name, late, self._lasting)

    def _requests(self, over: threading.Event) -> Iterator[Any]:
        """What a stream sends. It closes this side after the last answer of one that is stopping; the sidecar then ends the stream."""
        yield self._first()
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._answers or over.is_set() or (self._stopping.is_set() and not self._busy) or self._ended.is_set())
                if over.is_set() or self._ended.is_set() or not self._answers:
                    return
                answers = batch(self._answers)
            yield self._batch(answers)

    def _handle(self) -> None:
        while True:
            with self._lock:
                self._todo.wait_for(lambda: self._notices or self._work or self._ended.is_set())
                if self._notices:
                    piece = self._notices.popleft()
                elif self._work:
                    due, piece = self._work.popleft()
                    if due < time.monotonic():
                        continue  # it comes again, or has come
                else:
                    return
                epoch = self._epoch
                self._busy += 1
            try:
                done = self._do(piece)
            except BaseException:
                log.exception("a handler failed beyond repair")
                done = None
            with self._lock:
                self._busy -= 1
                if done is not None and epoch == self._epoch:
                    self._answers.append(done)
                elif done is not None:
                    log.warning("an answer came after its stream was gone: the message comes again")
                self._changed.notify_all()
                last = self._stopping.is_set() and not self._busy
            if last and not self._ended.wait(_LAST):
                self._end()


class Consumer(InboxTalk, Worker):
    """Runs a handler for each message of an inbox. See `SidecarClient.consume`."""

    def __init__(
        self,
        handler: Callable[[models.Delivery], Any],
        open: messaging_pb2.OpenInbox,
        retry_delay: float,
        on_gap: Callable[[models.Gap], None] | None,
        workers: int,
        *rest: Any,
    ) -> None:
        self._handler = handler
        self._inbox = open
        self._retry_delay = retry_delay
        self._on_gap = on_gap
        super().__init__(f"linkkit-sidecar-consumer-{open.inbox}", workers, lasting(open, handler, retry_delay), *rest)

    def _do(self, work: Any) -> Any:
        if isinstance(work, models.Gap):
            if self._on_gap is not None:
                self._on_gap(work)
            return None
        returned: object = None
        error: BaseException | None = None
        try:
            returned = self._handler(models.Delivery(_convert.message(work.message), work.count, work.sequence))
        except BaseException as raised:  # this thread is ours, whatever a handler raises
            error = raised
        return answer(work.delivery, returned, error, work.count, self._retry_delay)


class CallHandler(CallTalk, Worker):
    """Answers calls from the platform by a function. It can still be called as that function. See `SidecarClient.on_call`."""

    def __init__(self, handler: Callable[[models.Call], models.Payload], first: messaging_pb2.AnswerCallsRequest, workers: int, *rest: Any) -> None:
        self._handler = handler
        self._opening = first
        super().__init__("linkkit-sidecar-calls", workers, CALL_LASTS, *rest)

    def __call__(self, call: models.Call) -> models.Payload:
        return self._handler(call)

    def _do(self, work: Any) -> Any:
        try:
            answered = _convert.payload(self._handler(_convert.call(work)))
        except BaseException:  # this thread is ours, whatever a handler raises
            log.exception("a handler of calls failed on %s: the platform gets no answer", work.topic)
            return None
        return messaging_pb2.CallAnswer(call=work.call, payload=answered)
