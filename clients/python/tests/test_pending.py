"""The book of a publisher, without a stream."""

from __future__ import annotations

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar._feeds import Persistence
from linkkit_sidecar._pending import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Pending
from linkkit_sidecar.v1 import error_reason_pb2
from linkkit_sidecar.v1 import messaging_pb2 as pb


class Told(list):
    """What was told of one message after another."""

    def add(self, pending, name, assurance=pb.ASSURANCE_UNSPECIFIED, payload=b"", to_end=False, key=""):
        message = pb.OutgoingMessage(topic=name, payload=payload, assurance=assurance, key=key)
        pending.add(message, lambda result: self.append((name, result)), to_end)
        return message

    def hear(self, settled):
        for settle, result in settled:
            settle(result)


def receipt(message, outcome, **more):
    return pb.Receipt(id=message.id, outcome=outcome, **more)


def test_batches_are_bounded_in_messages_and_bytes():
    pending, told = Pending(), Told()
    for i in range(MAX_BATCH_MESSAGES + 1):
        told.add(pending, str(i))
    assert [m.topic for m in pending.take()] == [str(i) for i in range(MAX_BATCH_MESSAGES)]
    assert len(pending.take()) == 1
    assert pending.take() == []
    for _ in range(3):
        told.add(pending, "large", payload=bytes(MAX_BATCH_BYTES // 2))
    assert len(pending.take()) == 2


def test_few_are_few_only_beside_many_under_way():
    pending, told = Pending(), Told()
    told.add(pending, "alone")
    assert not pending.few
    pending.take()
    told.add(pending, "beside one")
    assert not pending.few
    for i in range(10):
        told.add(pending, str(i))
    pending.take()
    told.add(pending, "beside many")
    assert pending.few
    for i in range(40):
        told.add(pending, str(i))
    assert not pending.few


def test_each_message_is_settled_once():
    pending, told = Pending(), Told()
    first, second = told.add(pending, "first"), told.add(pending, "second", pb.ASSURANCE_STORED)
    pending.take()
    told.hear(pending.receive([receipt(second, pb.OUTCOME_STORED, sequence=7), receipt(first, pb.OUTCOME_ACKNOWLEDGED)]))
    told.hear(pending.receive([receipt(second, pb.OUTCOME_ACKNOWLEDGED, sequence=7)]))
    assert told == [("second", lk.Receipt(lk.Outcome.STORED, 7)), ("first", lk.Receipt(lk.Outcome.ACKNOWLEDGED))]
    assert len(pending) == 0


def test_the_end_of_a_stored_message_is_waited_for_when_asked():
    pending, told = Pending(), Told()
    message = told.add(pending, "m", pb.ASSURANCE_STORED, to_end=True)
    pending.take()
    told.hear(pending.receive([receipt(message, pb.OUTCOME_STORED)]))
    assert told == []
    told.hear(pending.receive([receipt(message, pb.OUTCOME_EXPIRED, reason=error_reason_pb2.ERROR_REASON_MESSAGE_EXPIRED, detail="too old")]))
    ((_, error),) = told
    assert isinstance(error, lk.ExpiredError)
    assert error.metadata == {"outcome": "EXPIRED"}


def test_what_was_sent_and_is_not_stored_is_unknown_after_a_break():
    pending, told = Pending(), Told()
    told.add(pending, "sent")
    stored = told.add(pending, "stored", pb.ASSURANCE_STORED)
    pending.take()
    queued = told.add(pending, "queued")
    told.hear(pending.broke(lk.SidecarUnavailableError("gone")))
    ((name, error),) = told
    assert name == "sent"
    assert isinstance(error, lk.OutcomeUnknownError)
    again = pending.take()
    assert [m.topic for m in again] == ["stored", "queued"]
    assert again[0].key == stored.key != ""
    assert again[1].id == queued.id


def test_a_key_of_ones_own_is_kept():
    pending, told = Pending(), Told()
    assert told.add(pending, "m", pb.ASSURANCE_STORED, key="mine").key == "mine"


def test_a_stream_that_was_refused_sent_nothing():
    pending, told = Pending(), Told()
    told.add(pending, "m")
    pending.take()
    refusal = lk.NotFoundError("no such device", reason="DEVICE_UNKNOWN")
    told.hear(pending.broke(refusal))
    assert told == [("m", refusal)]


def test_giving_up_tells_each_message():
    pending, told = Pending(), Told()
    told.add(pending, "sent")
    pending.take()
    told.add(pending, "queued")
    closed = lk.ClientClosedError("closed")
    told.hear(pending.give_up(closed))
    assert [name for name, _ in told] == ["sent", "queued"]
    assert isinstance(told[0][1], lk.OutcomeUnknownError)
    assert told[1][1] is closed
    assert len(pending) == 0


def test_persistence_ends_after_its_limit_and_waits_longer_each_time():
    now = 0.0
    persistence = Persistence(3.0, clock=lambda: now)
    gone = lk.SidecarUnavailableError("gone")
    pauses = []
    while now < 3:
        pauses.append(persistence.pause_after(gone))
        now += pauses[-1]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    with pytest.raises(lk.SidecarUnavailableError):
        persistence.pause_after(gone)
    persistence.works()
    assert persistence.pause_after(gone) == 0.05


def test_persistence_does_not_try_again_what_was_answered():
    with pytest.raises(lk.RefusedError):
        Persistence(None).pause_after(lk.RefusedError("no", reason="SUBSCRIPTION_REFUSED"))


def test_persistence_without_a_limit_goes_on():
    persistence = Persistence(None, clock=lambda: 1e9)
    for _ in range(1000):
        assert persistence.pause_after(lk.SidecarUnavailableError("gone")) <= 1.0
