"""What the streams of both clients know, without any input or output of their own.

A feed says how to ask for its stream, turns each answer into items, and decides what a broken stream means: go on, or give up. The clients
only move bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import grpc

from . import _convert, errors, events, models
from ._rpc import to_error, unsent
from .v1 import device_pb2, event_pb2, messaging_pb2

log = logging.getLogger("linkkit_sidecar")

T = TypeVar("T")


_STEADY = 1.0
"""A stream that stays open for so many seconds works, though it may have nothing to bring."""


class Persistence:
    """How long a stream tries to come back: `limit` seconds since it last worked; None is for ever.

    Only a sidecar that is gone or stopping is tried again. Everything else is an answer, and raised.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._opened: float | None = None
        self._since: float | None = None
        self._pause = 0.0

    def opens(self) -> None:
        """Note that the stream is being opened."""
        self._opened = self._clock()

    def works(self) -> None:
        """Note that the stream has brought something, or that it is not needed for a while."""
        self._since = None
        self._pause = 0.0

    def pause_after(self, error: errors.SidecarError) -> float:
        """Return how many seconds to wait before the stream is opened again.

        Raises:
            SidecarError: It is not to be opened again.
        """
        if not isinstance(error, errors.SidecarUnavailableError):
            raise error
        now = self._clock()
        if self._opened is not None and now - self._opened >= _STEADY and not unsent(error.detail):
            self.works()
        self._opened = None
        if self._since is None:
            self._since = now
            log.info("a stream was lost and will be resumed: %s", error)
        if self._limit is not None and now - self._since >= self._limit:
            raise error
        self._pause = min(max(2 * self._pause, 0.05), 1.0)
        return self._pause


def ended() -> errors.SidecarUnavailableError:
    """The error for a stream that the sidecar ended without one: it has no reason to."""
    return errors.SidecarUnavailableError("the sidecar ended the stream", code="OK")


def failed(error: Exception) -> errors.InternalError:
    """The error for a fault of this client: it ends a stream with a word, not a thread without one."""
    log.error("the client failed", exc_info=error)
    return errors.InternalError(f"the client failed: {error!r}")


def broken(error: grpc.RpcError) -> errors.SidecarError:
    """The error of a broken stream. A connection that is cut shows in several ways, all of them without a reason of the sidecar's."""
    told = to_error(error)
    if not told.reason and told.code in ("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"):
        return errors.SidecarUnavailableError(told.detail, code=told.code)
    return told


class Feed(Generic[T]):
    """One kind of stream."""

    def request(self) -> Any:
        """The request that opens the stream, or opens it again where it broke."""
        raise NotImplementedError

    def items(self, response: Any) -> Iterable[T]:
        """What an answer brings."""
        raise NotImplementedError


class EventFeed(Feed["events.Event | models.Gap"]):
    """Events, resumed by their cursor."""

    def __init__(self, devices: Sequence[models.Device], after: models.Cursor | None, kinds: Sequence[events.EventKind]) -> None:
        self._devices = [d for one in devices if (d := _convert.device(one)) is not None]
        self._kinds: list[Any] = list(kinds)
        self.cursor = after

    def request(self) -> event_pb2.EventsRequest:
        after = None if self.cursor is None else event_pb2.Cursor(epoch=self.cursor.epoch, sequence=self.cursor.sequence)
        return event_pb2.EventsRequest(devices=self._devices, after=after, kinds=self._kinds)

    def items(self, response: event_pb2.EventsResponse) -> Iterable[events.Event | models.Gap]:
        item = _convert.event(response)
        self.cursor = _convert.cursor(response.cursor) if response.HasField("cursor") else self.cursor
        return (item,)


class MessageFeed(Feed["models.Message | models.Gap"]):
    """Messages of a subscription. It has no cursor: what came while the stream was broken is a gap of unknown size."""

    def __init__(self, device: device_pb2.Device | None, filters: Sequence[str], max_waiting: int) -> None:
        self._request = messaging_pb2.SubscribeRequest(device=device, filters=filters, max_waiting=max_waiting)
        self._answered = False
        self._resumed = False
        self.granted = False

    def request(self) -> messaging_pb2.SubscribeRequest:
        self._resumed = self._answered
        self.granted = False
        return self._request

    def items(self, response: messaging_pb2.SubscribeResponse) -> Iterable[models.Message | models.Gap]:
        items: list[models.Message | models.Gap] = []
        self._answered = True
        if self._resumed:
            self._resumed = False
            items.append(models.Gap(None, "the stream to the sidecar was broken; what came meanwhile did not reach this reader"))
        if response.missed:
            items.append(models.Gap(response.missed, "this reader was too slow: the sidecar dropped its oldest messages"))
        if response.granted:
            self.granted = True
        items += [_convert.message(one) for one in response.messages]
        return items
