"""What goes wrong, with both clients: cut connections, deadlines, limits, forks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from test_client import wait_for

import linkkit_sidecar as lk
from linkkit_sidecar.sandbox.v1 import sandbox_pb2


def test_a_stream_whose_sidecar_is_gone_raises_after_its_time(make_client, sidecar):
    with make_client(sidecar.address, resume_timeout=0.5) as client, client.events() as events:
        assert isinstance(events.next(10), lk.Snapshot)
        sidecar.kill()
        with pytest.raises(lk.SidecarUnavailableError):
            events.next(30)
        with pytest.raises(lk.SidecarUnavailableError):
            next(events)
    sidecar.start()


def test_a_call_waits_for_a_sidecar_that_starts_again(client, sidecar, device):
    sidecar.kill()
    starting = threading.Timer(0.5, sidecar.start)
    starting.start()
    assert client.get_device().device == device[0]
    starting.join()


def test_a_publish_that_was_cut_is_unknown(client, sidecar, platform, device):
    swallow_pubacks(platform, device[0])
    error = []

    def publish():
        try:
            client.publish(device[0].topic("user/update"), b"x")
        except lk.SidecarError as raised:
            error.append(raised)

    thread = threading.Thread(target=publish)
    thread.start()
    wait_for(lambda: platform.published(device[0]) == [b"x"])
    sidecar.kill()
    thread.join(30)
    assert isinstance(error[0], lk.OutcomeUnknownError)
    assert error[0].retryable
    sidecar.start()


def test_a_deadline_passes(client, sidecar, platform, device):
    swallow_pubacks(platform, device[0])
    with pytest.raises(lk.DeadlineExceededError):
        client.publish(device[0].topic("user/update"), b"x", timeout=0.3)
    with client.publisher(window=1) as publisher:
        publisher.publish(device[0].topic("user/update"), b"x")
        with pytest.raises(lk.DeadlineExceededError, match="no receipt"):
            publisher.publish(device[0].topic("user/update"), b"y", timeout=0.1)
        with pytest.raises(lk.DeadlineExceededError):
            publisher.flush(0.1)
        publisher.close(0.1)
        with pytest.raises(lk.ClientClosedError):
            publisher.publish(device[0].topic("user/update"), b"y")
    sidecar.kill()  # it would wait for acknowledgements


def test_a_device_that_is_offline_takes_only_what_is_stored(client, platform, device):
    client.disconnect()
    with pytest.raises(lk.NotOnlineError) as raised:
        client.publish(device[0].topic("user/update"), b"x")
    assert raised.value.retryable
    with client.publisher() as publisher:
        with pytest.raises(lk.NotOnlineError):
            publisher.publish(device[0].topic("user/update"), b"x").result(10)
        stored = publisher.publish(device[0].topic("user/update"), b"later", assurance=lk.Assurance.STORED).result(10)
    assert stored.outcome is lk.Outcome.STORED
    assert client.get_device().queue.stored_messages == 1
    with client.events(kinds=[lk.EventKind.STORED_ENDED]) as events:
        client.connect(endpoint=platform.endpoint, tls=platform.tls)
        while not isinstance(ended := events.next(30), lk.StoredEnded):
            pass
    assert ended.outcome is lk.Outcome.ACKNOWLEDGED
    assert ended.ranges == (lk.SequenceRange(stored.sequence, stored.sequence),)


def test_a_reader_that_is_too_slow_is_told_what_it_missed(client, platform, device):
    count = 3000
    with client.messages(device[0].topic("user/get"), max_waiting=1) as messages:
        messages.wait_granted(10)
        payload = bytes(4096)
        for _ in range(count):
            platform.push(device[0], "user/get", payload, qos=0)
        got = missed = 0
        while got + missed < count:
            item = messages.next(10)
            if isinstance(item, lk.Gap):
                missed += item.missed
            else:
                got += 1
    assert got + missed == count


def test_filters_that_are_not_the_devices_are_refused(client):
    with client.messages("/elsewhere/+") as messages:
        with pytest.raises(lk.InvalidRequestError):
            messages.wait_granted(10)
        with pytest.raises(lk.InvalidRequestError):
            next(messages)


def test_an_inbox_with_other_filters_ends_its_consumer(client, device):
    with client.consume("jobs", print, filters=[device[0].topic("user/a")]) as first:
        first.wait_granted(10)
    consumer = client.consume("jobs", print, filters=[device[0].topic("user/b")])
    with pytest.raises(lk.ConflictError) as raised:
        consumer.wait(10)
    assert raised.value.reason == "INBOX_CONFLICT"
    consumer.close()
    with pytest.raises(lk.ConflictError):
        consumer.wait_granted(1)


def test_a_handler_of_calls_that_fails_gives_no_answer(client, platform, device):
    @client.on_call(device[0].topic("user/ask"))
    def answer(call):
        if call.payload == b"fail":
            raise RuntimeError("on purpose")
        return 7 if call.payload == b"number" else "text"

    answer.wait_granted(10)
    for payload, outcome in ((b"fail", "TIMEOUT"), (b"number", "TIMEOUT"), (b"text", "ANSWERED")):
        request = sandbox_pb2.CallDeviceRequest(device=platform.named(device[0]), topic=device[0].topic("user/ask"), payload=payload)
        request.timeout.FromMilliseconds(500)
        told = platform.console.CallDevice(request, timeout=10)
        assert sandbox_pb2.CallOutcome.Name(told.outcome) == "CALL_OUTCOME_" + outcome


def test_arguments_out_of_range_are_told_at_once(client, device):
    for wrong in (lambda: client.publisher(window=0), lambda: client.consume("x", print, workers=0)):
        with pytest.raises(ValueError, match="give 1 or more"):
            wrong()
    with pytest.raises(lk.InvalidRequestError) as raised:
        client.connect(mqtt=lk.MqttSettings(keep_alive=5))
    assert "keep_alive" in raised.value.violations[0].field


def test_an_answer_over_tcp_needs_its_certificates():
    with pytest.raises(ValueError, match="ca_file"):
        lk.SidecarClient("localhost:1", token_file="x")
    with pytest.raises(ValueError, match="together"):
        lk.SidecarClient("localhost:1", ca_file="x", cert_file="y")


def test_a_fork_gets_an_error_and_the_parent_goes_on(client, device):
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    process = context.Process(target=forked, args=(getattr(client, "_inner", client), told))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert "forked" in told.get()
    assert client.get_device().device == device[0]


def forked(client, told):
    try:
        client.messages("/a/b/c")
        told.put("nothing was raised")
    except lk.ForkedError as error:
        client.close()
        told.put(str(error))
    os._exit(0)  # pytest's own end is not for a child


def test_an_iteration_can_be_interrupted(sidecar):
    program = "import linkkit_sidecar as lk, sys\nwith lk.SidecarClient(sys.argv[1]) as c:\n for e in c.events(): print('one', flush=True)\n"
    process = subprocess.Popen([sys.executable, "-c", program, sidecar.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert process.returncode in (-signal.SIGINT, 1, 130)


def test_a_program_that_does_not_close_its_client_ends(sidecar):
    program = (
        "import linkkit_sidecar as lk, sys\n"
        "c = lk.SidecarClient(sys.argv[1]); e = c.events(); print(next(e)); p = c.publisher(); c.consume('x', print, filters=['/a/b/c'])\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, sidecar.address], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 30


def test_many_threads_share_a_client(client, platform, device):
    topic = device[0].topic("user/update")
    errors = []

    def work(n):
        try:
            for i in range(20):
                client.publish(topic, f"{n}-{i}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(platform.published(device[0])) == sorted(f"{n}-{i}".encode() for n in range(8) for i in range(20))


def swallow_pubacks(platform, device):
    """Let the platform acknowledge nothing, on a link that is new."""

    def link():
        told = platform.console.ListDevices(sandbox_pb2.ListDevicesRequest(product_key=device.product_key), timeout=10)
        return next(one.connection_id for one in told.devices if one.device.device_name == device.device_name)

    before = link()
    fault = sandbox_pb2.Fault(device=platform.named(device), swallow_puback=True)
    platform.console.SetFault(sandbox_pb2.SetFaultRequest(fault=fault), timeout=10)
    platform.console.KickDevice(sandbox_pb2.KickDeviceRequest(device=platform.named(device)), timeout=10)
    wait_for(lambda: link() not in (0, before))
