"""What is said on the streams that bring work, whichever client runs the handlers: how to open one, answer on it, and read it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from . import _convert, models
from .v1 import messaging_pb2

log = logging.getLogger("linkkit_sidecar")


class InboxTalk:
    """The stream of an inbox's consumer."""

    _inbox: messaging_pb2.OpenInbox
    _on_gap: Any
    _notices: deque[Any]

    def _first(self) -> messaging_pb2.ConsumeRequest:
        return messaging_pb2.ConsumeRequest(open=self._inbox)

    def _batch(self, answers: list[Any]) -> messaging_pb2.ConsumeRequest:
        return messaging_pb2.ConsumeRequest(answers=answers)

    def _read(self, response: messaging_pb2.ConsumeResponse) -> Iterable[Any]:
        if response.stale:
            log.warning("%d answers to inbox %s came too late: those messages come again", len(response.stale), self._inbox.inbox)
        if response.missed:
            gap = models.Gap(response.missed, f"inbox {self._inbox.inbox} dropped messages to make room, or found them damaged")
            log.warning("%d messages are missing: %s", gap.missed, gap.detail)
            if self._on_gap is not None:
                self._notices.append(gap)
        return response.deliveries


class CallTalk:
    """The stream of who answers calls."""

    _opening: messaging_pb2.AnswerCallsRequest

    def _first(self) -> messaging_pb2.AnswerCallsRequest:
        return self._opening

    def _batch(self, answers: list[Any]) -> messaging_pb2.AnswerCallsRequest:
        return messaging_pb2.AnswerCallsRequest(answers=answers)

    def _read(self, response: messaging_pb2.AnswerCallsResponse) -> Iterable[Any]:
        for result in response.results:
            if result.outcome == messaging_pb2.OUTCOME_FAILED:
                log.warning("the answer to a call was not sent: %s [%s]", result.detail, _convert.reason_name(result.reason))
        return response.calls
