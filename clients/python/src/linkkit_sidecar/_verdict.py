"""What workers know without any input or output of their own: a consumer's verdicts, how long work lasts, batches of answers."""

from __future__ import annotations

import logging
from typing import Any

from . import models
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")

CALL_LASTS = 8.0
"""Seconds that the platform gives to answer a call."""

_DEFAULT_VISIBILITY = 30

_BATCH_BYTES = 512 << 10  # at least one answer, and far below what the sidecar reads at once


def lasting(inbox: messaging_pb2.OpenInbox, handler: object, retry_delay: float) -> float:
    """Return how many seconds a consumer's messages last, and refuse arguments that only show when one comes."""
    if not callable(handler):
        raise TypeError(f"a handler is called with each message, which {type(handler).__name__} cannot be")
    if not retry_delay >= 0:
        raise ValueError(f"a retry_delay of {retry_delay} s: give 0 or more")
    return inbox.visibility_timeout or _DEFAULT_VISIBILITY


def batch(answers: list[Any]) -> list[Any]:
    """Take from answers as many as one request may carry, in their order."""
    size = count = 0
    while count < len(answers) and size < _BATCH_BYTES:
        size += answers[count].ByteSize()
        count += 1
    taken = answers[:count]
    del answers[:count]
    return taken


def answer(delivery: int, returned: object, error: BaseException | None, count: int, retry_delay: float) -> messaging_pb2.Answer:
    """Make the answer to a delivery of what its handler returned or raised.

    An exception other than `Retry` and `Drop` means retry, after `retry_delay` seconds, doubled with each delivery, an hour at most.
    """
    verdict: Any = error if error is not None else returned
    if isinstance(verdict, models.Retry) or verdict is models.Retry:
        delay = verdict.delay if isinstance(verdict, models.Retry) else 0.0
        return messaging_pb2.Answer(delivery=delivery, verdict=messaging_pb2.VERDICT_RETRY, delay_ms=round(delay * 1000))
    if isinstance(verdict, models.Drop) or verdict is models.Drop:
        return messaging_pb2.Answer(delivery=delivery, verdict=messaging_pb2.VERDICT_DROP)
    if error is None:
        if not (verdict is None or isinstance(verdict, models.Done) or verdict is models.Done):
            log.warning("a consumer's handler returned %r, taken as done: return None, Done(), Retry() or Drop()", type(verdict).__name__)
        return messaging_pb2.Answer(delivery=delivery, verdict=messaging_pb2.VERDICT_DONE)
    delay = min(retry_delay * 2 ** min(max(count - 1, 0), 20), 3600.0)
    log.error("a consumer's handler failed on delivery %d of a message, which comes again in %g s", count, delay, exc_info=error)
    return messaging_pb2.Answer(delivery=delivery, verdict=messaging_pb2.VERDICT_RETRY, delay_ms=round(delay * 1000))
