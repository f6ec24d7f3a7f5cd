"""What consumers and handlers of calls promise in bad moments, with both clients."""

from __future__ import annotations

import asyncio
import threading
import time

import grpc
import pytest
from fake import Collected, all_of, delivery
from test_client import wait_for

import linkkit_sidecar as lk
from linkkit_sidecar._feeds import Persistence
from linkkit_sidecar.v1 import messaging_pb2 as pb

BUSY = pytest.mark.parametrize("make_client", [lk.SidecarClient], ids=["blocking"])  # its handler blocks, and would block the loop


@BUSY
def test_an_answer_to_a_broken_stream_is_sent_on_no_other(make_client, fake, monkeypatch):
    """Deliveries of another stream may have the same numbers: the answer would settle another message."""
    broke, answered, streams = threading.Event(), threading.Event(), []

    def pause_after(self, error):
        broke.set()
        assert answered.wait(10)
        time.sleep(0.1)
        return 0.0

    def consume(requests, context):
        streams.append(Collected(requests))
        if len(streams) > 1:
            fake.over.wait(1)
            return
        yield pb.ConsumeResponse(granted=True, deliveries=[delivery(1, b"old")])
        assert busy.wait(10)
        context.abort(grpc.StatusCode.UNAVAILABLE, "")

    def handle(message):
        busy.set()
        assert broke.wait(10)
        answered.set()

    busy = threading.Event()
    monkeypatch.setattr(Persistence, "pause_after", pause_after)
    fake.Consume = consume
    fake.start()
    with make_client(fake.address) as client, client.consume("jobs", handle):
        wait_for(lambda: len(streams) > 1)
    assert all(not request.answers for stream in streams for request in all_of(stream))


@BUSY
def test_a_gap_is_told_although_its_stream_breaks(make_client, fake):
    gaps, busy, go_on = [], threading.Event(), threading.Event()
    streams = []

    def consume(requests, context):
        streams.append(1)
        if len(streams) > 1:
            go_on.set()
            fake.over.wait(1)
            return
        yield pb.ConsumeResponse(deliveries=[delivery(1)])
        assert busy.wait(10)
        yield pb.ConsumeResponse(missed=3)
        context.abort(grpc.StatusCode.UNAVAILABLE, "")

    def handle(message):
        busy.set()
        assert go_on.wait(10)

    fake.Consume = consume
    fake.start()
    with make_client(fake.address) as client, client.consume("jobs", handle, on_gap=gaps.append):
        wait_for(lambda: gaps)
    assert [gap.missed for gap in gaps] == [3]


def test_the_last_answers_arrive_before_the_stream_ends(make_client, fake):
    streams = []

    def consume(requests, context):
        streams.append(Collected(requests))
        yield pb.ConsumeResponse(deliveries=[delivery(i) for i in range(1, 6)])
        while context.is_active() and None not in streams[-1].queue:
            time.sleep(0.01)

    def handle(message):
        seen.append(message)
        return lk.Retry(60)

    fake.Consume = consume
    fake.start()
    with make_client(fake.address) as client:
        for _ in range(10):
            seen = []
            consumer = client.consume("jobs", handle)
            wait_for(lambda seen=seen: len(seen) == 5)
            consumer.close()
    for stream in streams:
        answers = [one for request in all_of(stream) for one in request.answers]
        assert [(one.delivery, one.delay_ms) for one in answers] == [(i, 60_000) for i in range(1, 6)]


def test_a_client_closed_by_a_handler_still_sends_its_answer(make_client, fake):
    streams = []

    def consume(requests, context):
        streams.append(Collected(requests))
        yield pb.ConsumeResponse(deliveries=[delivery(7)])
        while context.is_active() and None not in streams[-1].queue:
            time.sleep(0.01)

    def handle(message):
        return getattr(client, "_inner", client).close()

    fake.Consume = consume
    fake.start()
    client = make_client(fake.address)
    consumer = client.consume("jobs", handle)
    consumer.wait(10)
    answers = [one for request in all_of(streams[0]) for one in request.answers]
    assert [(one.delivery, one.verdict) for one in answers] == [(7, pb.VERDICT_DONE)]
    client.close()


def test_answers_to_many_calls_fit_into_requests(make_client, fake):
    count, streams = 64, []

    def answer_calls(requests, context):
        streams.append(Collected(requests))
        yield pb.AnswerCallsResponse(calls=[pb.Call(call=i + 1, topic="/a") for i in range(count)])
        while context.is_active() and None not in streams[-1].queue:
            time.sleep(0.01)

    fake.AnswerCalls = answer_calls
    fake.start()
    with make_client(fake.address) as client:
        together = threading.Barrier(count) if make_client is lk.SidecarClient else None

        @client.on_call(workers=count)
        def answer(call):
            if together is not None:
                together.wait(10)
            return bytes(200 << 10)

        wait_for(lambda: streams and sum(len(one.answers) for one in list(streams[0].queue) if one) == count)
        answer.close()
    assert len(streams) == 1


def test_a_slow_handler_settles_what_it_can_and_goes_on(client, platform, device):
    """Messages that wait longer than their time come again; those that wait here must not be dealt with, and answered too late, for ever."""
    counted = []

    def handle(message):
        counted.append(message.payload)
        time.sleep(0.12)

    async def handle_in_loop(message):
        counted.append(message.payload)
        await asyncio.sleep(0.12)

    handler = handle if isinstance(client, lk.SidecarClient) else handle_in_loop
    with client.consume("jobs", handler, filters=[device[0].topic("user/get")], visibility_timeout=1) as consumer:
        consumer.wait_granted(10)
        for i in range(30):
            platform.push(device[0], "user/get", str(i).encode())
        wait_for(lambda: len(set(counted)) == 30 and client.list_inboxes()[0].messages == 0, within=20)
    assert len(counted) < 60


def test_a_consumer_of_a_device_that_is_offline_bears_any_number_of_restarts(make_client, sidecar, platform, device):
    with make_client(sidecar.address, device=device[0], resume_timeout=1.5) as client:
        client.connect(credential=device[1], endpoint=platform.endpoint, tls=platform.tls)
        client.disconnect()
        with client.consume("jobs", print, filters=[device[0].topic("user/get")]) as consumer:
            for _ in range(2):
                sidecar.kill()
                sidecar.start()
                with pytest.raises(lk.DeadlineExceededError):
                    consumer.wait(2)


def test_what_is_closed_was_not_granted(make_client, fake):
    def silent(request, context):
        fake.over.wait(10)
        yield from ()

    fake.Consume = fake.Subscribe = silent
    fake.start()
    with make_client(fake.address) as client:
        consumer, messages = client.consume("jobs", print), client.messages("/a/b/c")
        for one in (consumer, messages):
            threading.Timer(0.2, one.close, *([0.1],) if one is consumer else ()).start()
            began = time.monotonic()
            with pytest.raises(lk.ClientClosedError):
                one.wait_granted(10)
            assert time.monotonic() - began < 5
        fake.over.set()


def test_what_is_resumed_is_not_granted_before_it_is_again(make_client, fake):
    streams = []

    def subscribe(request, context):
        streams.append(1)
        if len(streams) == 1:
            yield pb.SubscribeResponse(granted=True) if isinstance(request, pb.SubscribeRequest) else pb.ConsumeResponse(granted=True)
            assert go_on.wait(10)
            context.abort(grpc.StatusCode.UNAVAILABLE, "")
        fake.over.wait(2)

    fake.Consume = fake.Subscribe = subscribe
    fake.start()
    with make_client(fake.address) as client:
        for begin in (lambda: client.messages("/a/b/c"), lambda: client.consume("jobs", print)):
            go_on = threading.Event()
            streams.clear()
            one = begin()
            one.wait_granted(10)
            go_on.set()
            wait_for(lambda: len(streams) == 2)
            with pytest.raises(lk.DeadlineExceededError):
                one.wait_granted(0.1)
        fake.over.set()


@BUSY
def test_a_close_takes_no_longer_than_it_was_given(make_client, fake):
    stuck, busy = threading.Event(), threading.Semaphore(0)

    def consume(requests, context):
        yield pb.ConsumeResponse(deliveries=[delivery(i) for i in range(1, 5)])
        fake.over.wait(10)

    def handle(message):
        busy.release()
        assert stuck.wait(20)

    fake.Consume = consume
    fake.start()
    with make_client(fake.address) as client:
        consumer = client.consume("jobs", handle, workers=4)
        for _ in range(4):
            assert busy.acquire(timeout=10)
        began = time.monotonic()
        consumer.close(1)
        assert time.monotonic() - began < 2
        fake.over.set()
        stuck.set()


@BUSY
def test_a_handler_may_raise_anything(make_client, fake):
    streams = []

    def consume(requests, context):
        streams.append(Collected(requests))
        yield pb.ConsumeResponse(deliveries=[delivery(1), delivery(2)])
        fake.over.wait(10)

    def handle(message):
        raise SystemExit

    fake.Consume = consume
    fake.start()
    with make_client(fake.address) as client, client.consume("jobs", handle) as consumer:
        wait_for(lambda: streams and sum(len(one.answers) for one in list(streams[0].queue) if one) == 2)
        fake.over.set()
        consumer.close()
    assert {one.verdict for request in all_of(streams[0]) for one in request.answers} == {pb.VERDICT_RETRY}
