"""A consumer's handler and its verdict."""

from __future__ import annotations

import logging
from typing import Any

from . import models
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")


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
