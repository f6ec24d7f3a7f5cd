"""The blocking client's publisher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import grpc

from . import _convert, errors, models
from ._feeds import Persistence, broken, ended, failed
from ._pending import Pending, Settle
from ._rpc import Deadline, Origin
from .v1 import device_pb2, messaging_pb2

log = logging.getLogger("linkkit_sidecar")

_LOOK_AGAIN = 0.05
"""Seconds. Who waits for room is woken when there is some for a batch, for a message at a time would make batches of one; or after this."""

_GATHER = 0.0003
"""Seconds that a batch of few messages waits for others, while many are under way. One that is alone does not wait."""


class Publisher:
    """Publishes many messages without waiting for each; they travel in batches that grow with the load.

    Messages of one publisher are sent in their order. Safe to use from several threads. Over a restart of the sidecar it goes on: STORED
    messages are given again by their keys, so none is lost and none is taken twice; a CONFIRMED one that was under way gets
    `OutcomeUnknownError`.

    Callbacks of futures run on the publisher's thread, on which receipts come: in them, publish, flush and close do not wait.
    """

    def __init__(
        self,
        device: device_pb2.Device | None,
        window: int,
        open_stream: Callable[[Iterator[messaging_pb2.PublishStreamRequest]], Any],
        persistence: Persistence,
        forget: Callable[[Any], None],
    ) -> None:
        if window < 1:
            raise ValueError(f"a window of {window}: give 1 or more")
        self._device = device
        self._window = window
        self._low = window * 3 // 4  # there is room for a batch
        self._open = open_stream
        self._persistence = persistence
        self._forget = forget
        self._origin = Origin()
        self._pending = Pending()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # something to send, or the end
        self._room = threading.Condition(self._lock)  # fewer without a receipt
        self._stop = threading.Event()
        self._closing = False
        self._failure: errors.SidecarError | None = None
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name="linkkit-sidecar-publisher", daemon=True)
        self._thread.start()

    def publish(
        self,
        topic: str,
        payload: models.Payload,
        *,
        qos: int = 1,
        assurance: models.Assurance = models.Assurance.CONFIRMED,
        ttl: int = 0,
        priority: int = 0,
        key: str = "",
        traceparent: str = "",
        wait_end: bool = False,
        timeout: float | None = None,
    ) -> Future[models.Receipt]:
        """Hand a message over, and return at once with a future of its receipt.

        Args:
            topic: The topic, without wildcards; at most 128 bytes.
            payload: At most 256 KiB; a str is sent as UTF-8.
            qos: 0 or 1. With 0 nothing acknowledges the message: its receipt says SENT.
            assurance: CONFIRMED: the receipt is the platform's acknowledgement. STORED: that it is on disk.
            ttl: STORED: after how many seconds it expires if it was not sent, at most a year; 0 is the sidecar's default.
            priority: STORED: 0 to 9; those with a higher one are sent first.
            key: STORED: an idempotency key, at most 128 bytes. None given: the publisher makes one up.
            traceparent: The trace that the message belongs to, as W3C's header of that name; its way to the platform is recorded there.
            wait_end: STORED: the receipt comes when the message has ended, not when it is on disk.
            timeout: While as many messages as the window holds have no receipt, wait for room this many seconds; None is without a bound.

        Returns:
            A future of the `Receipt`. It raises what went wrong with this message: `NotOnlineError`, `OutcomeUnknownError`, `LimitError`,
            `InvalidRequestError`, `ExpiredError` and others.

        Raises:
            InvalidRequestError: The payload is too large.
            DeadlineExceededError: There was no room in time; the message was not taken.
            ClientClosedError: The publisher was closed.
            SidecarError: The publisher cannot go on.
        """
        future: Future[models.Receipt] = Future()
        self._send(_convert.outgoing(topic, payload, qos, assurance, ttl, priority, key, traceparent), _settle(future), wait_end, timeout)
        return future

    def _send(self, message: messaging_pb2.OutgoingMessage, settle: Settle, to_end: bool, timeout: float | None) -> None:
        """Queue a message. `settle` is called on the publisher's thread, and must not block."""
        self._origin.check()
        with self._lock:
            if len(self._pending) >= self._window and not self._wait_room(lambda: len(self._pending) < self._window or self._closing, timeout):
                raise errors.DeadlineExceededError(f"{self._window} messages have no receipt yet, and none came in time")
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise errors.ClientClosedError("the publisher is closed")
            self._pending.add(message, settle, to_end)
            if self._pending.queued == 1:
                self._work.notify()

    def _wait_room(self, enough: Callable[[], bool], timeout: float | None) -> bool:
        """Wait, with the lock, until there is room enough, and tell whether it came in time."""
        if self._inside():
            return enough()
        deadline = None if timeout is None else Deadline(timeout)
        while not enough():
            left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline.left())
            if not left:
                return False
            self._room.wait(left)
        return True

    def _inside(self) -> bool:
        """Tell whether this is the publisher's own thread, on which receipts come: there, they cannot be waited for."""
        return threading.current_thread() is self._thread

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every message that was handed over has its receipt, good or bad.

        Args:
            timeout: Seconds to wait; None is without a bound.

        Raises:
            DeadlineExceededError: Some have none yet.
        """
        self._origin.check()
        with self._lock:
            if not self._wait_room(lambda: not len(self._pending), timeout):
                raise errors.DeadlineExceededError(f"{len(self._pending)} messages have no receipt yet")

    def close(self, timeout: float = 30.0) -> None:
        """Wait for the receipts that are due, then end the stream.

        Args:
            timeout: Seconds to wait. What has no receipt then gets an error: `OutcomeUnknownError` if it was under way.
        """
        if self._origin.forked():
            return
        deadline = Deadline(timeout)
        try:
            with self._lock:
                self._closing = True
                self._room.notify_all()
                self._wait_room(lambda: not len(self._pending), timeout)
                early = len(self._pending)
        finally:  # also when it was interrupted
            self._end()
        if early:  # told without the lock: what takes the log may publish it
            log.warning("a publisher was closed early: %d messages have no receipt", early)
        if not self._inside():
            self._thread.join(max(1.0, deadline.left()))
            if self._thread.is_alive():
                log.warning("a publisher was closed while a callback of a receipt runs")

    def _end(self) -> None:
        with self._lock:
            self._stop.set()
            self._work.notify_all()
            call = self._call
        if call is not None:
            call.cancel()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Its thread.

    def _run(self) -> None:
        try:
            final = self._persist()
        except Exception as error:
            final = failed(error)
        with self._lock:
            self._failure = final if not self._closing else None
            self._closing = True
            left = self._pending.give_up(final)
            self._room.notify_all()
        _tell(left)
        self._forget(self)

    def _persist(self) -> errors.SidecarError:
        """Run one stream after another, and return what ended it."""
        while not self._stop.is_set():
            error = self._stream()
            if self._stop.is_set():
                break
            with self._lock:
                unknown = self._pending.broke(error)
                self._room.notify_all()
            _tell(unknown)
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                return final
            self._stop.wait(pause)
        return errors.ClientClosedError("the publisher was closed before this message was sent")

    def _stream(self) -> errors.SidecarError:
        """Run one stream until it breaks, and return why."""
        over = threading.Event()
        with self._lock:
            if not self._pending.queued:
                self._work.wait_for(lambda: self._pending.queued or self._stop.is_set())
                self._persistence.works()  # no stream was needed meanwhile
            if self._stop.is_set():
                return ended()
        self._persistence.opens()
        try:
            call = self._open(self._requests(over))
        except errors.SidecarError as error:
            over.set()
            return error
        with self._lock:
            self._call = call
            if self._stop.is_set():
                call.cancel()
        try:
            for response in call:
                self._persistence.works()
                with self._lock:
                    settled = self._pending.receive(response.receipts)
                    if settled and len(self._pending) <= self._low:
                        self._room.notify_all()
                _tell(settled)
            return ended()
        except grpc.RpcError as error:
            return broken(error)
        finally:
            call.cancel()
            with self._lock:
                self._call = None
                over.set()
                self._work.notify_all()

    def _requests(self, over: threading.Event) -> Iterator[messaging_pb2.PublishStreamRequest]:
        """What a stream sends; gRPC iterates over it on a thread of its own."""
        first = True
        while True:
            with self._lock:
                self._work.wait_for(lambda: self._pending.queued or over.is_set() or self._stop.is_set())
                few = self._pending.few
            if few:
                time.sleep(_GATHER)  # let who publishes fill the batch: to send one costs more than the messages in it
            with self._lock:
                if over.is_set() or self._stop.is_set():
                    return
                batch = self._pending.take()
            yield messaging_pb2.PublishStreamRequest(device=self._device if first else None, messages=batch)
            first = False


def _settle(future: Future[models.Receipt]) -> Settle:
    def settle(result: models.Receipt | errors.SidecarError) -> None:
        if not future.set_running_or_notify_cancel():
            return  # its owner does not want to know
        if isinstance(result, errors.SidecarError):
            future.set_exception(result)
        else:
            future.set_result(result)

    return settle


def _tell(settled: list[tuple[Settle, models.Receipt | errors.SidecarError]]) -> None:
    for settle, result in settled:
        try:
            settle(result)
        except BaseException:  # a callback of the app's, on our thread: it must not end the others, whatever it raises
            log.exception("a callback of a message's receipt failed")
