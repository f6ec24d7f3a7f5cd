"""What a program publishes: under way without its waiting, and told when the platform has it."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from linkkit_sidecar import errors
from linkkit_sidecar.client import Publisher
from linkkit_sidecar.models import Receipt
from linkkit_sidecar.v1 import messaging_pb2

from ._log import Log

MAX_PAYLOAD = 256 << 10
_QUIET = 1.0  # seconds between lines that say the same
_STORED = messaging_pb2.ASSURANCE_STORED


class Outgoing:
    """Publishes through one `Publisher`, and numbers messages as the vendor's MQTT library does: 1 to 65535, then from 1 again.

    A message that was taken is not given up: when the link is lost before the platform acknowledged it, it is sent again on the next one.

    Args:
        publisher: Carries the messages.
        log: Tells what was refused.
        wake: Called when `take_done` has something, not again until it was called.
        limit: How many messages of QoS 1 may be without acknowledgement; 0 is without a bound.
        stored: Publish STORED.
    """

    def __init__(self, publisher: Publisher, log: Log, wake: Callable[[], None], limit: int, stored: bool) -> None:
        self._publisher = publisher
        self._log = log
        self._wake = wake
        self._limit = limit
        self._stored = stored
        self._numbers = itertools.count()
        self._under_way: dict[int, messaging_pb2.OutgoingMessage] = {}  # of QoS 1, by their number
        self._again: deque[int] = deque()  # those that are to be sent on the next link
        self._done: deque[int] = deque()
        self._woken = False
        self._refused = 0  # since it was last logged
        self._quiet_until = 0.0

    def number(self) -> int:
        """The next number of a message, or of a request to subscribe."""
        return next(self._numbers) % 65535 + 1

    def publish(self, topic: str, payload: bytes, qos: int, told: bool = True, now: bool = False) -> int | None:
        """Hand a message over and return its number; None when it is not taken.

        Args:
            topic: The topic.
            payload: The payload.
            qos: 0 or 1.
            told: Its number is to come out of `take_done`.
            now: It is of use only now: it is not STORED.
        """
        under_way = self._under_way
        if qos and self._limit and len(under_way) >= self._limit:
            self._refuse(topic)
            return None
        number = next(self._numbers) % 65535 + 1
        stored = self._stored and not now
        if stored:
            message = messaging_pb2.OutgoingMessage(topic=topic, payload=payload, qos=qos, assurance=_STORED)
        else:
            message = messaging_pb2.OutgoingMessage(topic=topic, payload=payload, qos=qos)
        if qos:
            if number in under_way:
                self._log.error("a message to %s was not taken: 65535 are without acknowledgement", topic)
                return None
            under_way[number] = message
        try:
            self._publisher._send(message, partial(self._settled, number, told), stored, 0)
        except errors.SidecarError as error:
            under_way.pop(number, None)
            self._log.error("a message to %s was not taken: %s", topic, error)
            return None
        return number

    def _refuse(self, topic: str) -> None:
        """Log that there are too many; once a second, for a program that tries until one is taken does so all the time."""
        self._refused += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            words = "a message to %s was not taken (%d since the last such line): %d are without acknowledgement, which is max_queued_message"
            self._log.error(words, topic, self._refused, self._limit)
            self._refused, self._quiet_until = 0, now + _QUIET

    def _settled(self, number: int, told: bool, result: Receipt | errors.SidecarError) -> None:
        """Called on the publisher's thread with what became of a message."""
        if isinstance(result, errors.SidecarError):
            self._failed(number, result)
            return
        self._under_way.pop(number, None)
        if told:
            self._done.append(number)
            if not self._woken:
                self._woken = True
                self._wake()

    def _failed(self, number: int, error: errors.SidecarError) -> None:
        if isinstance(error, (errors.OutcomeUnknownError, errors.NotOnlineError)) and number in self._under_way:
            self._again.append(number)
            return
        message = self._under_way.pop(number, None)
        self._log.error("message %d%s was not sent: %s", number, "" if message is None else f" to {message.topic}", error)

    def take_done(self) -> Any:
        """Iterate over the numbers of messages that the platform has, or that were written to the link with QoS 0."""
        self._woken = False
        done = self._done
        while done:
            yield done.popleft()

    def resume(self) -> None:
        """Send again what had no acknowledgement when the link was lost."""
        again, self._again = self._again, deque()
        for number in again:
            message = self._under_way.get(number)
            if message is None:
                continue
            try:
                self._publisher._send(message, partial(self._settled, number, True), self._stored, None)
            except errors.SidecarError as error:
                self._failed(number, error)

    def forget(self) -> None:
        """Give up what waits for the next link: the program has ended this one."""
        for number in self._again:
            self._under_way.pop(number, None)
        self._again.clear()

    def flush(self, timeout: float) -> None:
        """Wait until all that was handed over has a receipt, at most `timeout` seconds."""
        try:
            self._publisher.flush(timeout)
        except errors.DeadlineExceededError as error:
            self._log.warning("%s", error)

    def close(self) -> None:
        """Wait a moment for receipts, then end. What is STORED and under way is with the sidecar by then."""
        self._publisher.close(1.0)


def to_bytes(payload: Any) -> bytes:
    """The payload as it goes out; None is an empty one, and numbers are written in decimal, as by the vendor's MQTT library.

    Raises:
        TypeError: It is of no such type.
    """
    if isinstance(payload, bytes):
        return payload
    if payload is None:
        return b""
    if isinstance(payload, bytearray):
        return bytes(payload)
    if isinstance(payload, (str, int, float)):
        return str(payload).encode()
    raise TypeError(f"a payload of type {type(payload).__name__}: give bytes, str, a number or None")
