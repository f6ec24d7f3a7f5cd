"""How clients and streams end: closed at a bad moment, interrupted, cut, forked."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest
from fake import acknowledge
from test_client import wait_for

import linkkit_sidecar as lk
from linkkit_sidecar._feeds import Persistence
from linkkit_sidecar.v1 import messaging_pb2 as pb

BLOCKING = pytest.mark.parametrize("make_client", [lk.SidecarClient], ids=["blocking"])


def test_a_call_under_way_when_the_client_is_closed_says_so(make_client, fake):
    called = threading.Semaphore(0)

    def never(request, context):
        called.release()
        fake.over.wait(10)

    fake.GetDevice = fake.Publish = never
    fake.start()
    client = make_client(fake.address)
    told = []

    def call(what):
        try:
            what()
        except BaseException as error:
            told.append(error)

    calls = (client.get_device, lambda: client.publish("/a/b/c", b""))
    threads = [threading.Thread(target=call, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
        assert called.acquire(timeout=10)
    if make_client is not lk.SidecarClient:  # its end is that of the loop too
        client._loop.run(client._inner.close())
    else:
        client.close()
    for thread in threads:
        thread.join(10)
    client.close()
    fake.over.set()
    assert sorted(type(error).__name__ for error in told) == ["ClientClosedError", "OutcomeUnknownError"]


def test_a_call_takes_no_longer_than_its_time_though_it_waited_for_the_sidecar(make_client, fake):
    fake.GetDevice = lambda request, context: fake.over.wait(10)
    starting = threading.Timer(0.6, fake.start)
    starting.start()
    with make_client(fake.address) as client:
        began = time.monotonic()
        with pytest.raises((lk.DeadlineExceededError, lk.SidecarUnavailableError)):
            client.get_device(timeout=1.2)
        assert time.monotonic() - began < 1.8
    starting.join()


def test_a_client_that_does_not_wait_says_at_once_that_nobody_listens(make_client, fake):
    with make_client(fake.address, start_timeout=0) as client:
        began = time.monotonic()
        with pytest.raises(lk.SidecarUnavailableError):
            client.get_device()
        assert time.monotonic() - began < 2


def test_everything_closes_while_the_sidecar_is_down(make_client, fake):
    client = make_client(fake.address, resume_timeout=None)
    publisher = client.publisher()
    future = publisher.publish("/a/b/c", b"x")
    client.events()
    client.messages("/a/b/c")
    client.consume("jobs", print)
    client.on_call()(print)
    time.sleep(0.3)
    publisher.close(0.2)
    with pytest.raises(lk.ClientClosedError):
        future.result(0)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 3


def test_a_stream_whose_reader_is_slow_closes_at_once(make_client, fake):
    def flood(request, context):
        while context.is_active():
            yield pb.SubscribeResponse(messages=[pb.IncomingMessage(topic="/a")])

    fake.Subscribe = flood
    fake.start()
    with make_client(fake.address) as client:
        for _ in range(3):
            messages = client.messages("/a/b/c")
            messages.next(10)
            time.sleep(0.1)
            began = time.monotonic()
            messages.close()
            assert time.monotonic() - began < 0.8


def test_all_who_wait_for_an_item_are_told_of_the_end(make_client, fake):
    go_on = threading.Event()

    def refuse(request, context):
        go_on.wait(10)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        yield

    fake.Subscribe = refuse
    fake.start()
    with make_client(fake.address) as client:
        for kind in (lk.ClientClosedError, lk.InvalidRequestError):
            go_on.clear()
            messages = client.messages("/a/b/c")
            told = []

            def read(messages=messages, told=told):
                try:
                    messages.next(None)
                except lk.SidecarError as error:
                    told.append(error)

            readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
            for reader in readers:
                reader.start()
            time.sleep(0.2)
            messages.close() if kind is lk.ClientClosedError else go_on.set()
            for reader in readers:
                reader.join(5)
            assert [type(one) for one in told] == [kind] * 3
            go_on.set()


def test_messages_that_begin_before_the_sidecar_have_no_gap(make_client, fake):
    def one(request, context):
        yield pb.SubscribeResponse(messages=[pb.IncomingMessage(topic="/a")])
        fake.over.wait(10)

    fake.Subscribe = one
    with make_client(fake.address) as client, client.messages("/a/b/c") as messages:
        time.sleep(0.3)
        fake.start()
        assert isinstance(messages.next(10), lk.Message)
        fake.over.set()


def test_what_is_begun_by_turns_is_not_kept(make_client, fake):
    fake.Subscribe = lambda request, context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
    fake.start()
    with make_client(fake.address) as client:
        for _ in range(5):
            with pytest.raises(lk.InvalidRequestError):
                client.messages("/a/b/c").next(10)
        inner = getattr(client, "_inner", client)
        wait_for(lambda: not (inner._opened if inner is not client else inner._open))


@BLOCKING
def test_an_interrupted_close_of_the_client_can_be_done_again(make_client, fake, monkeypatch):
    fake.PublishStream = acknowledge
    fake.start()
    client = make_client(fake.address)
    opened = [client.publisher(), client.publisher(), client.events()]

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for one in opened:
            patch.setattr(type(one), "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.close()
    client.close()
    assert not client._open


@BLOCKING
def test_a_fault_of_the_client_is_told_and_nothing_waits_for_ever(make_client, fake, monkeypatch):
    def faulty(*args):
        raise RuntimeError("a fault")

    monkeypatch.setattr(Persistence, "opens", faulty)
    with make_client(fake.address) as client:
        publisher = client.publisher()
        with pytest.raises(lk.InternalError):
            publisher.publish("/a/b/c", b"x").result(10)
        with pytest.raises(lk.InternalError):
            client.messages("/a/b/c").next(10)
        with pytest.raises(lk.InternalError):
            client.consume("jobs", print).wait(10)


def test_a_program_that_waits_for_receipts_can_be_interrupted(fake):
    def silent(requests, context):
        fake.over.wait(30)
        yield from ()

    fake.PublishStream = silent
    fake.start()
    program = (
        "import linkkit_sidecar as lk, sys\n"
        "with lk.SidecarClient(sys.argv[1]) as c, c.publisher(window=1) as p:\n"
        "  p.publish('/a/b/c', b'x'); print('waits', flush=True)\n"
        "  try: p.publish('/a/b/c', b'y')\n"
        "  finally: print('closes', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, fake.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    for line in (b"waits\n", b"closes\n"):
        assert process.stdout.readline() == line
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    fake.over.set()


def test_what_is_frozen_does_not_keep_a_client_from_closing(make_client, sidecar):
    client = make_client(sidecar.address)
    client.events().next(10)
    publisher = client.publisher()
    os.kill(sidecar.pid, signal.SIGSTOP)
    try:
        future = publisher.publish("/a/b/c", b"x")
        publisher.close(0.2)
        with pytest.raises(lk.SidecarError):
            future.result(0)
        consumer = client.consume("jobs", print)
        consumer.close(0.2)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 3
    finally:
        os.kill(sidecar.pid, signal.SIGCONT)


def test_what_was_open_before_a_fork_says_so_in_the_child(client, device):
    topic = device[0].topic("user/update")
    publisher, messages, consumer = client.publisher(), client.messages(topic), client.consume("jobs", print, filters=[topic])
    publisher.publish(topic, b"x").result(10)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    opened = [getattr(one, "_inner", one) for one in (publisher, messages, consumer)]
    for _ in range(5):
        child = context.Process(target=forked, args=(topic, *opened, told))
        child.start()
        child.join(30)
        if child.exitcode != -signal.SIGABRT:  # by gRPC, where a thread of its own was at work when the process forked
            break
    assert child.exitcode == 0
    assert told.get() == ["ForkedError"] * 4
    assert publisher.publish(topic, b"y").result(10).outcome is lk.Outcome.ACKNOWLEDGED


def forked(topic, publisher, messages, consumer, told):
    names = []
    for call in (lambda: publisher.publish(topic, b"z"), lambda: messages.next(1), lambda: consumer.wait(1), lambda: publisher.flush(1)):
        try:
            run(call())
        except lk.SidecarError as error:
            names.append(type(error).__name__)
    for one in (publisher, messages, consumer):
        run(one.close())
    told.put(names)
    os._exit(0)


def run(coroutine):
    """What a coroutine does that waits for nothing."""
    if coroutine is not None:
        with contextlib.suppress(StopIteration):
            coroutine.send(None)
