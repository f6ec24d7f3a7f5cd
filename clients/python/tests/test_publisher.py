"""What a publisher promises in bad moments, with both clients."""

from __future__ import annotations

import logging
import threading
import time

import grpc
import pytest
from fake import acknowledge, receipt
from test_client import wait_for

import linkkit_sidecar as lk
from linkkit_sidecar.v1 import messaging_pb2 as pb


def test_an_outcome_of_a_newer_sidecar_is_an_error_of_its_message_only(make_client, fake):
    def answer(requests, context):
        for request in requests:
            for one in request.messages:
                yield pb.PublishStreamResponse(receipts=[receipt(one, 99 if one.payload == b"new" else pb.OUTCOME_ACKNOWLEDGED)])

    fake.PublishStream = answer
    fake.start()
    with make_client(fake.address) as client, client.publisher() as publisher:
        new, known = publisher.publish("/a/b/c", b"new"), publisher.publish("/a/b/c", b"known")
        with pytest.raises(lk.SidecarError) as raised:
            new.result(10)
        assert raised.value.metadata == {"outcome": "UNRECOGNIZED_99"}
        assert known.result(10).outcome is lk.Outcome.ACKNOWLEDGED


def test_a_message_given_before_the_sidecar_listens_is_not_unknown(make_client, fake):
    fake.PublishStream = acknowledge
    with make_client(fake.address) as client, client.publisher() as publisher:
        future = publisher.publish("/a/b/c", b"x")
        time.sleep(0.3)
        fake.start()
        assert future.result(10).outcome is lk.Outcome.ACKNOWLEDGED


def test_a_message_whose_sidecar_never_comes_gets_that_as_its_error(make_client, fake):
    with make_client(fake.address, resume_timeout=0.3) as client, client.publisher() as publisher:
        with pytest.raises(lk.SidecarUnavailableError):
            publisher.publish("/a/b/c", b"x").result(10)
        with pytest.raises(lk.SidecarUnavailableError):
            publisher.publish("/a/b/c", b"x")
        publisher.flush(1)


def test_two_closers_both_wait_for_the_receipts(make_client, fake):
    def slow(requests, context):
        for request in requests:
            time.sleep(0.5)
            yield pb.PublishStreamResponse(receipts=[receipt(one) for one in request.messages])

    fake.PublishStream = slow
    fake.start()
    with make_client(fake.address) as client:
        publisher = client.publisher()
        future = publisher.publish("/a/b/c", b"x")
        closers = [threading.Thread(target=publisher.close) for _ in range(2)]
        for closer in closers:
            closer.start()
            time.sleep(0.1)
        for closer in closers:
            closer.join()
        assert future.result(0).outcome is lk.Outcome.ACKNOWLEDGED


def test_room_for_a_message_is_enough(make_client, fake):
    def first_only(requests, context):
        for request in requests:
            for one in request.messages:
                if one.payload == b"0":
                    time.sleep(0.3)
                    yield pb.PublishStreamResponse(receipts=[receipt(one)])

    fake.PublishStream = first_only
    fake.start()
    with make_client(fake.address) as client:
        publisher = client.publisher(window=8)
        began = time.monotonic()
        for i in range(9):
            publisher.publish("/a/b/c", str(i), timeout=5)
        assert time.monotonic() - began < 3
        with pytest.raises(lk.DeadlineExceededError):
            publisher.publish("/a/b/c", "9", timeout=0.1)
        publisher.close(0.1)


def test_many_large_messages_fit_and_one_that_is_too_large_is_told_at_once(make_client, fake):
    fake.PublishStream = acknowledge
    fake.start()  # it reads 4 MiB at most, as the real one
    with make_client(fake.address) as client, client.publisher(window=200) as publisher:
        futures = [publisher.publish("/a/b/c", bytes(256 << 10)) for _ in range(40)]
        with pytest.raises(lk.InvalidRequestError) as raised:
            publisher.publish("/a/b/c", bytes(8 << 20))
        assert raised.value.violations[0].field == "payload"
        with pytest.raises(lk.InvalidRequestError):
            client.publish("/a/b/c", bytes((256 << 10) + 1))
        for future in futures:
            assert future.result(20).outcome is lk.Outcome.ACKNOWLEDGED


def test_time_without_messages_does_not_count_as_time_without_a_sidecar(make_client, sidecar, platform, device):
    with make_client(sidecar.address, device=device[0], resume_timeout=2) as client:
        client.connect(credential=device[1], endpoint=platform.endpoint, tls=platform.tls)
        topic = device[0].topic("user/update")
        with client.publisher() as publisher:
            publisher.publish(topic, "1", assurance=lk.Assurance.STORED).result(10)
            sidecar.kill()
            sidecar.start()
            time.sleep(2.2)
            sidecar.kill()
            future = publisher.publish(topic, "2", assurance=lk.Assurance.STORED)
            time.sleep(0.3)
            sidecar.start()
            assert future.result(10).outcome is lk.Outcome.STORED


def test_a_stream_beyond_a_callers_limit_took_nothing(make_client, fake):
    def refuse(requests, context):
        context.set_trailing_metadata([("linkkit-reason", "CALLER_LIMIT")])
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")

    fake.PublishStream = refuse
    fake.start()
    with make_client(fake.address) as client, client.publisher() as publisher, pytest.raises(lk.LimitError):
        publisher.publish("/a/b/c", b"x").result(10)


def test_wrong_types_are_told_at_once(make_client, fake):
    with make_client(fake.address) as client:
        publisher = client.publisher()
        for wrong in (None, 5, [1, 2], {"a": 1}):
            with pytest.raises(TypeError, match="a payload is bytes"):
                publisher.publish("/a/b/c", wrong)
        for given in ({"qos": "1"}, {"ttl": 1.5}, {"key": 7}, {"assurance": "STORED"}):
            with pytest.raises((TypeError, ValueError)):
                publisher.publish("/a/b/c", b"", **given)
        with pytest.raises(TypeError, match=r"Device\.parse"):
            client.get_device("a/b")
        with pytest.raises(TypeError, match="not one str"):
            client.consume("jobs", print, filters="/a/b/c")
        with pytest.raises(TypeError, match="a handler"):
            client.consume("jobs", None)
        with pytest.raises(ValueError, match="retry_delay"):
            client.consume("jobs", print, retry_delay=-1)
        publisher.close(0)
    with pytest.raises(TypeError, match=r"Device\.parse"):
        lk.SidecarClient(fake.address, device="a/b")


def test_any_payload_that_is_bytes_or_text(client, platform, device):
    topic = device[0].topic("user/更新")
    with client.publisher() as publisher:
        for payload in ("é", b"b", bytearray(b"c"), memoryview(b"xdx")[1:2], ""):
            publisher.publish(topic, payload).result(10)
    assert platform.published(device[0]) == ["é".encode(), b"b", b"c", b"d", b""]


def test_callbacks_may_raise_anything_and_do_not_wait(fake):
    def first_only(requests, context):
        for request in requests:
            for one in request.messages:
                if one.payload != b"never":
                    yield pb.PublishStreamResponse(receipts=[receipt(one)])

    fake.PublishStream = first_only
    fake.start()
    with lk.SidecarClient(fake.address) as client:
        publisher = client.publisher(window=2)
        told = []

        def callback(future):
            publisher.publish("/a/b/c", b"never")
            for blocked in (lambda: publisher.publish("/a/b/c", b"one more"), publisher.flush):
                try:
                    blocked()
                except lk.DeadlineExceededError as error:
                    told.append(error)
            raise SystemExit

        publisher.publish("/a/b/c", b"never")
        publisher.publish("/a/b/c", b"x").add_done_callback(callback)
        wait_for(lambda: len(told) == 2)
        publisher.close(0.1)
        assert not publisher._pending

        publisher = client.publisher()
        lost = publisher.publish("/a/b/c", b"never")
        closed = []
        publisher.publish("/a/b/c", b"x").add_done_callback(lambda _: closed.append(publisher.close()))
        with pytest.raises(lk.OutcomeUnknownError):
            lost.result(10)
        assert closed == [None]


def test_an_interrupted_close_ends_the_publisher_all_the_same(fake, monkeypatch):
    fake.PublishStream = lambda requests, context: iter(list(requests)[:0])
    fake.start()
    with lk.SidecarClient(fake.address) as client:
        publisher = client.publisher()
        future = publisher.publish("/a/b/c", b"x")

        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(publisher, "_wait_room", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publisher.close()
        with pytest.raises(lk.SidecarError):
            future.result(10)
        publisher._thread.join(10)
        assert not publisher._thread.is_alive()
        monkeypatch.undo()


def test_a_log_may_be_published_by_the_publisher_that_writes_it(fake):
    fake.PublishStream = lambda requests, context: iter(list(requests)[:0])
    fake.start()
    told = []

    class Ships(logging.Handler):
        def emit(self, record):
            try:
                publisher.publish("/a/b/c", record.getMessage())
            except lk.ClientClosedError as error:
                told.append(error)

    ships = Ships()
    logging.getLogger("linkkit_sidecar").addHandler(ships)
    try:
        with lk.SidecarClient(fake.address) as client:
            publisher = client.publisher()
            publisher.publish("/a/b/c", b"x")
            closing = threading.Thread(target=publisher.close, args=(0.1,), daemon=True)
            closing.start()
            closing.join(10)
            assert not closing.is_alive()
    finally:
        logging.getLogger("linkkit_sidecar").removeHandler(ships)
    assert told


def test_a_message_carries_its_trace(make_client, fake):
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen = []

    def stream(requests, context):
        for request in requests:
            seen.extend(one.traceparent for one in request.messages)
            yield pb.PublishStreamResponse(receipts=[receipt(one) for one in request.messages])

    def single(request, context):
        seen.append(request.message.traceparent)
        return pb.PublishResponse(outcome=pb.OUTCOME_ACKNOWLEDGED)

    fake.PublishStream, fake.Publish = stream, single
    fake.start()
    with make_client(fake.address) as client, client.publisher() as publisher:
        publisher.publish("/a/b/c", b"", traceparent=traceparent).result(10)
        publisher.publish("/a/b/c", b"").result(10)
        client.publish("/a/b/c", b"", traceparent=traceparent)
    assert seen == [traceparent, "", traceparent]
