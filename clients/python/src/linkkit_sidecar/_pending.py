"""The book of a publisher: which messages wait to be sent, and which for a receipt. It takes no locks and waits for nothing."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import _convert, errors, models
from ._rpc import unsent
from .v1 import messaging_pb2

MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 512 << 10
_FEW = 32
_MANY = 8

_STORED = messaging_pb2.OUTCOME_STORED
_GOOD = frozenset({messaging_pb2.OUTCOME_ACKNOWLEDGED, messaging_pb2.OUTCOME_SENT, _STORED})

# With these the sidecar refuses a stream when it is opened: no message of it was looked at.
_REFUSALS = (errors.InvalidRequestError, errors.NotFoundError, errors.CallerError, errors.LimitError)

Settle = Callable[["models.Receipt | errors.SidecarError"], None]
"""Called once with what became of a message."""


@dataclass(slots=True)
class Entry:
    """One message that has no final receipt yet."""

    message: messaging_pb2.OutgoingMessage
    settle: Settle
    stored: bool  # STORED, so it can be sent again by its key
    to_end: bool  # settle it when it has ended, not when it is on disk


class Pending:
    """Messages of one publisher, in order.

    A message is *queued* until a batch takes it and *sent* until its receipt. When the stream breaks, STORED messages are queued again: each
    has a key, so none is taken twice. CONFIRMED ones that were sent are unknown, unless the stream never reached a sidecar.
    """

    def __init__(self) -> None:
        self._queue: deque[Entry] = deque()
        self._sent: dict[int, Entry] = {}
        self._next = 1
        self._keys = uuid.uuid4().hex
        self._answered = False  # the stream has brought receipts

    def __len__(self) -> int:
        return len(self._queue) + len(self._sent)

    @property
    def queued(self) -> int:
        """How many wait to be sent."""
        return len(self._queue)

    @property
    def few(self) -> bool:
        """Whether only a few wait to be sent, though many are under way: more are likely to follow soon."""
        return len(self._queue) < _FEW and len(self._sent) >= _MANY

    def add(self, message: messaging_pb2.OutgoingMessage, settle: Settle, to_end: bool) -> None:
        """Queue a message. It gets an id and, when it is STORED and has none, a key."""
        message.id = self._next
        self._next += 1
        stored = message.assurance == messaging_pb2.ASSURANCE_STORED
        if stored and not message.key:
            message.key = f"{self._keys}-{message.id}"
        self._queue.append(Entry(message, settle, stored, to_end))

    def take(self) -> list[messaging_pb2.OutgoingMessage]:
        """Return the next batch, empty when nothing is queued; it is sent from now on."""
        batch: list[messaging_pb2.OutgoingMessage] = []
        size = 0
        queue, sent = self._queue, self._sent
        while queue and len(batch) < MAX_BATCH_MESSAGES and size < MAX_BATCH_BYTES:
            entry = queue.popleft()
            sent[entry.message.id] = entry
            batch.append(entry.message)
            size += len(entry.message.payload)
        return batch

    def receive(self, receipts: Iterable[messaging_pb2.Receipt]) -> list[tuple[Settle, models.Receipt | errors.SidecarError]]:
        """Note receipts and return what is settled by them, for the caller to tell outside its lock."""
        settled: list[tuple[Settle, models.Receipt | errors.SidecarError]] = []
        self._answered = True
        for receipt in receipts:
            entry = self._sent.get(receipt.id)
            if entry is None:
                continue  # the end of one that was settled when it was on disk
            if receipt.outcome == _STORED and entry.to_end:
                continue
            del self._sent[receipt.id]
            settled.append((entry.settle, _result(receipt)))
        return settled

    def broke(self, error: errors.SidecarError) -> list[tuple[Settle, models.Receipt | errors.SidecarError]]:
        """Note that the stream broke: queue again what can be, and return the rest with its error."""
        if error.reason and isinstance(error, _REFUSALS) and not self._answered:
            settled: list[tuple[Settle, models.Receipt | errors.SidecarError]] = [(entry.settle, error) for entry in self._sent.values()]
            self._sent.clear()
            return settled
        unknown: list[tuple[Settle, models.Receipt | errors.SidecarError]] = []
        again: list[Entry] = []
        for entry in self._sent.values():
            if entry.stored or unsent(error.detail):
                again.append(entry)
            else:
                lost = errors.OutcomeUnknownError(f"the stream to the sidecar broke before the receipt came: {error.detail}")
                unknown.append((entry.settle, lost))
        self._sent.clear()
        self._answered = False
        self._queue.extendleft(reversed(again))
        return unknown

    def give_up(self, error: errors.SidecarError) -> list[tuple[Settle, models.Receipt | errors.SidecarError]]:
        """Empty the book: queued messages were never sent and get `error`; for sent ones it is as after a break."""
        settled = self.broke(error)
        settled += [(entry.settle, error) for entry in self._queue]
        self._queue.clear()
        return settled


def _result(receipt: messaging_pb2.Receipt) -> models.Receipt | errors.SidecarError:
    if receipt.outcome in _GOOD:
        return _convert.receipt(receipt)
    reason = _convert.reason_name(receipt.reason)
    if receipt.outcome == messaging_pb2.OUTCOME_UNKNOWN:
        return errors.OutcomeUnknownError(receipt.detail or "the link was lost before the acknowledgement came", reason=reason)
    known = errors.class_for(reason)
    outcome = models.Outcome(receipt.outcome).name
    return known(receipt.detail or f"the message was {outcome.lower()}", reason=reason, metadata={"outcome": outcome})
