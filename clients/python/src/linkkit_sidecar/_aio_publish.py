"""The asyncio client's publisher."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any

import grpc

from . import _convert, errors, models
from ._aio_streams import end
from ._feeds import Persistence, broken, ended, failed
from ._pending import Pending, Settle
from ._rpc import Deadline, Origin
from .v1 import device_pb2, messaging_pb2

log = logging.getLogger("linkkit_sidecar")


class Publisher:
    """Publishes many messages without waiting for each; they travel in batches that grow with the load.

    Messages of one publisher are sent in their order. Over a restart of the sidecar it goes on: STORED messages are given again by their
    keys, so none is lost and none is taken twice; a CONFIRMED one that was under way gets `OutcomeUnknownError`.
    """

    def __init__(
        self,
        device: device_pb2.Device | None,
        window: int,
        open_stream: Callable[[AsyncIterator[messaging_pb2.PublishStreamRequest]], Any],
        persistence: Persistence,
        forget: Callable[[Any], None],
    ) -> None:
        if window < 1:
            raise ValueError(f"a window of {window}: give 1 or more")
        self._device = device
        self._window = window
        self._open = open_stream
        self._persistence = persistence
        self._origin = Origin()
        self._pending = Pending()
        self._work = asyncio.Event()  # something to send
        self._room = asyncio.Condition()  # fewer without a receipt
        self._closing = False
        self._failure: errors.SidecarError | None = None
        self._tasks = [asyncio.get_running_loop().create_task(self._run(), name="linkkit-sidecar-publisher")]
        self._tasks[0].add_done_callback(lambda _: forget(self))

    async def publish(
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
    ) -> asyncio.Future[models.Receipt]:
        """Hand a message over, and return a future of its receipt: awaiting the call waits for room, awaiting the future for the receipt.

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
        message = _convert.outgoing(topic, payload, qos, assurance, ttl, priority, key, traceparent)
        self._origin.check()
        if len(self._pending) >= self._window and not await self._wait_room(lambda: len(self._pending) < self._window or self._closing, timeout):
            raise errors.DeadlineExceededError(f"{self._window} messages have no receipt yet, and none came in time")
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise errors.ClientClosedError("the publisher is closed")
        future: asyncio.Future[models.Receipt] = asyncio.get_running_loop().create_future()
        self._pending.add(message, _settle(future), wait_end)
        self._work.set()
        return future

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every message that was handed over has its receipt, good or bad.

        Args:
            timeout: Seconds to wait; None is without a bound.

        Raises:
            DeadlineExceededError: Some have none yet.
        """
        self._origin.check()
        if not await self._wait_room(lambda: not len(self._pending), timeout):
            raise errors.DeadlineExceededError(f"{len(self._pending)} messages have no receipt yet")

    async def close(self, timeout: float = 30.0) -> None:
        """Wait for the receipts that are due, then end the stream.

        Args:
            timeout: Seconds to wait. What has no receipt then gets an error: `OutcomeUnknownError` if it was under way.
        """
        if self._origin.forked():
            return
        self._closing = True
        await self._told()
        try:
            if not await self._wait_room(lambda: not len(self._pending), timeout):
                log.warning("a publisher was closed early: %d messages have no receipt", len(self._pending))
        finally:  # also when it was cancelled
            await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        _tell(self._pending.give_up(errors.ClientClosedError("the publisher was closed before this message was sent")))
        await end(self._tasks)
        await self._told()

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _wait_room(self, enough: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until there is room enough, and tell whether it came in time."""
        deadline = None if timeout is None else Deadline(timeout)

        async def wait() -> None:
            async with self._room:
                await self._room.wait_for(enough)

        while not enough():  # who waited with us may have been faster
            try:
                await asyncio.wait_for(wait(), None if deadline is None else deadline.left())
            except asyncio.TimeoutError:
                return enough()
        return True

    async def _told(self) -> None:
        async with self._room:
            self._room.notify_all()

    # Its task.

    async def _run(self) -> None:
        final: errors.SidecarError = errors.InternalError("the publisher's task was cancelled")
        try:
            final = await self._persist()
        except Exception as error:
            final = failed(error)
        finally:
            self._failure = final if not self._closing else None
            self._closing = True
            _tell(self._pending.give_up(final))
            await self._told()

    async def _persist(self) -> errors.SidecarError:
        """Run one stream after another, and return what ended it."""
        while True:
            error = await self._stream()
            _tell(self._pending.broke(error))
            await self._told()
            try:
                pause = self._persistence.pause_after(error)
            except errors.SidecarError as final:
                return final
            await asyncio.sleep(pause)

    async def _stream(self) -> errors.SidecarError:
        """Run one stream until it breaks, and return why."""
        over = asyncio.Event()
        if not self._pending.queued:
            while not self._pending.queued:
                self._work.clear()
                await self._work.wait()
            self._persistence.works()  # no stream was needed meanwhile
        self._persistence.opens()
        try:
            call = self._open(self._requests(over))
        except errors.SidecarError as error:
            return error
        try:
            async for response in call:
                self._persistence.works()
                settled = self._pending.receive(response.receipts)
                if settled:
                    _tell(settled)
                    await self._told()
            return ended()
        except grpc.RpcError as error:
            return broken(error)
        finally:
            over.set()
            self._work.set()
            call.cancel()

    async def _requests(self, over: asyncio.Event) -> AsyncIterator[messaging_pb2.PublishStreamRequest]:
        """What a stream sends, until it is over: what is queued then is the next one's."""
        first = True
        while True:
            while not self._pending.queued and not over.is_set():
                self._work.clear()
                await self._work.wait()
            await asyncio.sleep(0)  # let who publishes in a loop fill the batch
            if over.is_set():
                return
            batch = self._pending.take()
            if batch:
                yield messaging_pb2.PublishStreamRequest(device=self._device if first else None, messages=batch)
                first = False


def _settle(future: asyncio.Future[models.Receipt]) -> Settle:
    def settle(result: models.Receipt | errors.SidecarError) -> None:
        if future.done():
            return  # its owner does not want to know
        if isinstance(result, errors.SidecarError):
            future.set_exception(result)
        else:
            future.set_result(result)

    return settle


def _tell(settled: list[tuple[Settle, models.Receipt | errors.SidecarError]]) -> None:
    for settle, result in settled:
        settle(result)
