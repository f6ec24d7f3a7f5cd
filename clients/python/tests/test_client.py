"""Both clients against the real sidecar and the sandbox: see `twin`."""

from __future__ import annotations

import threading
import time

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar import Assurance, Outcome
from linkkit_sidecar.sandbox.v1 import sandbox_pb2


def test_connects_and_tells_how_things_stand(client, device):
    status = client.get_device()
    assert status.online
    assert status.device == device[0]
    assert status.credential.kind is lk.CredentialKind.DEVICE_SECRET
    assert [one.device for one in client.list_devices()] == [device[0]]
    assert client.disconnect().state is lk.LinkState.IDLE
    client.forget_device(device[0])
    with pytest.raises(lk.NotFoundError) as raised:
        client.get_device()
    assert raised.value.reason == "DEVICE_UNKNOWN"
    assert not raised.value.retryable
    assert "register" in raised.value.advice


def test_registers(make_client, sidecar, platform):
    device, _ = platform.device(secret=False)
    with make_client(sidecar.address) as client:
        made = client.register(device, product_secret=platform.product_secret, endpoint=platform.endpoint, tls=platform.tls, reveal_credential=True)
        assert made.device_secret is not None
        assert made.device_secret.secret
        assert made.device_secret.secret not in repr(made)
        assert client.connect(endpoint=platform.endpoint, tls=platform.tls).online
        with pytest.raises(lk.ConflictError) as raised:
            client.register(device, product_secret=platform.product_secret, endpoint=platform.endpoint, tls=platform.tls)
        assert raised.value.reason == "CREDENTIAL_EXISTS"


def test_a_refusal_says_what_to_do(make_client, sidecar, platform, device):
    with make_client(sidecar.address) as client, pytest.raises(lk.RefusedError) as raised:
        client.connect(device[0], credential=lk.DeviceSecret("wrong"), endpoint=platform.endpoint, tls=platform.tls)
    assert raised.value.reason == "REFUSED_BAD_CREDENTIALS"
    assert "secret" in raised.value.advice


def test_publishes(client, platform, device):
    topic = device[0].topic("user/update")
    assert client.publish(topic, "hello") == lk.Receipt(Outcome.ACKNOWLEDGED)
    assert client.publish(topic, b"qos 0", qos=0).outcome is Outcome.SENT
    stored = client.publish(topic, b"stored", assurance=Assurance.STORED, key="k")
    assert stored.outcome is Outcome.STORED
    assert stored.sequence
    assert client.publish(topic, b"stored", assurance=Assurance.STORED, key="k").duplicate
    wait_for(lambda: platform.published(device[0]) == [b"hello", b"qos 0", b"stored"])
    with pytest.raises(lk.InvalidRequestError) as raised:
        client.publish("/elsewhere/x", b"")
    assert raised.value.violations or raised.value.detail


def test_a_publisher_keeps_order_and_gives_each_message_its_receipt(client, platform, device):
    topic = device[0].topic("user/update")
    payloads = [str(i).encode() for i in range(500)]
    with client.publisher(window=100) as publisher:
        futures = [publisher.publish(topic, payload) for payload in payloads]
        bad = publisher.publish("/elsewhere/x", b"")
        publisher.flush(30)
        assert all(f.result(0).outcome is Outcome.ACKNOWLEDGED for f in futures)
        with pytest.raises(lk.InvalidRequestError):
            bad.result(0)
    assert platform.published(device[0]) == payloads


def test_a_publisher_whose_stream_is_refused_says_why(make_client, sidecar):
    with make_client(sidecar.address) as client:
        publisher = client.publisher()
        future = publisher.publish("/a/b/c", b"")
        with pytest.raises(lk.InvalidRequestError) as raised:
            future.result(10)
        assert raised.value.reason == "DEVICE_AMBIGUOUS"
        with pytest.raises(lk.InvalidRequestError):
            publisher.publish("/a/b/c", b"")


def test_a_publisher_loses_nothing_stored_over_a_killed_sidecar(client, platform, device, sidecar):
    topic = device[0].topic("user/update")
    stop = threading.Event()
    sent = []

    with client.publisher(window=50) as publisher:

        def publish():
            while not stop.is_set():
                payload = str(len(sent)).encode()
                sent.append((payload, publisher.publish(topic, payload, assurance=Assurance.STORED, wait_end=True)))
                time.sleep(0.002)

        thread = threading.Thread(target=publish)
        thread.start()
        for _ in range(3):
            time.sleep(0.3)
            sidecar.kill()
            time.sleep(0.2)
            sidecar.start()
        time.sleep(0.3)
        stop.set()
        thread.join()
        publisher.flush(60)
    for _, future in sent:
        assert future.result(0).outcome is Outcome.ACKNOWLEDGED
    got = platform.published(device[0])
    assert {payload for payload, _ in sent} <= set(got)
    first = sorted({p: i for i, p in reversed(list(enumerate(got)))}.items(), key=lambda x: x[1])
    assert [p for p, _ in first] == [payload for payload, _ in sent]


def test_subscribes(client, platform, device):
    with client.messages(device[0].topic("user/get")) as messages:
        messages.wait_granted(10)
        for i in range(100):
            platform.push(device[0], "user/get", str(i).encode())
        got = [messages.next(10) for _ in range(100)]
        assert [m.payload for m in got] == [str(i).encode() for i in range(100)]
        assert got[0].topic == device[0].topic("user/get")
        assert got[0].qos == 1
        with pytest.raises(lk.DeadlineExceededError):
            messages.next(0.1)


def test_messages_go_on_over_a_restart_with_a_gap(client, platform, device, sidecar):
    with client.messages(device[0].topic("user/get")) as messages:
        messages.wait_granted(10)
        platform.push(device[0], "user/get", b"before")
        assert messages.next(10).payload == b"before"
        sidecar.kill()
        sidecar.start()
        gap = messages.next(30)
        assert isinstance(gap, lk.Gap)
        assert gap.missed is None
        wait_for(lambda: platform.push(device[0], "user/get", b"after").delivery == sandbox_pb2.DELIVERY_SENT)
        assert messages.next(10).payload == b"after"


def test_a_stream_closed_elsewhere_ends(client, device):
    messages = client.messages(device[0].topic("user/get"))
    threading.Timer(0.2, messages.close).start()
    assert list(messages) == []
    with pytest.raises(lk.ClientClosedError):
        messages.next(1)


def test_events_go_on_where_they_broke(client, platform, device, sidecar):
    with client.events() as events:
        assert isinstance(events.next(10), lk.Snapshot)
        client.disconnect()
        client.connect(endpoint=platform.endpoint, tls=platform.tls)
        until(events, lk.Disconnected)
        until(events, lk.Online)
        sidecar.kill()
        sidecar.start()
        seen = until(events, lk.Online)
        assert any(isinstance(e, lk.Snapshot) for e in seen)
        cursor = events.cursor
    with client.events(after=cursor) as events:
        assert isinstance(events.next(10), lk.Snapshot)


def test_a_consumer_answers_by_what_its_handler_does(client, platform, device):
    seen = []
    over = threading.Event()

    def handle(delivery):
        seen.append((delivery.payload, delivery.count))
        if delivery.payload == b"last":
            over.set()
        if delivery.payload == b"again" and delivery.count == 1:
            raise lk.Retry(0.1)
        if delivery.payload == b"broken" and delivery.count == 1:
            raise RuntimeError("once")
        if delivery.payload == b"junk":
            return lk.Drop()
        return None

    with client.consume("jobs", handle, filters=[device[0].topic("user/get")], retry_delay=0.05) as consumer:
        consumer.wait_granted(10)
        for payload in (b"again", b"broken", b"junk", b"good"):
            platform.push(device[0], "user/get", payload)
        wait_for(lambda: len(seen) == 6)
        platform.push(device[0], "user/get", b"last")
        assert over.wait(10)
    assert sorted(seen) == [(b"again", 1), (b"again", 2), (b"broken", 1), (b"broken", 2), (b"good", 1), (b"junk", 1), (b"last", 1)]
    wait_for(lambda: client.list_inboxes()[0].consumers == 0)  # the sidecar learns a moment later that the stream has ended
    (inbox,) = client.list_inboxes()
    assert (inbox.inbox, inbox.messages) == ("jobs", 0)
    wait_for(lambda: client.get_device().counters.dropped_by_consumer == 1)
    client.delete_inbox("jobs")
    assert client.list_inboxes() == ()


def test_a_consumer_goes_on_over_a_restart(client, platform, device, sidecar):
    seen = []
    with client.consume("jobs", lambda d: seen.append(d.payload), filters=[device[0].topic("user/get")]) as consumer:
        consumer.wait_granted(10)
        platform.push(device[0], "user/get", b"1")
        wait_for(lambda: seen == [b"1"])
        sidecar.kill()
        sidecar.start()
        wait_for(lambda: platform.push(device[0], "user/get", b"2").delivery == sandbox_pb2.DELIVERY_SENT)
        wait_for(lambda: seen[-1] == b"2")


def test_a_consumer_may_be_closed_by_its_handler(client, platform, device):
    def handle(delivery):
        consumer.close()

    consumer = client.consume("jobs", handle, filters=[device[0].topic("user/get")])
    consumer.wait_granted(10)
    platform.push(device[0], "user/get", b"1")
    consumer.wait(10)
    consumer.close()
    assert client.list_inboxes()[0].messages == 0


def test_answers_calls(client, platform, device):
    @client.on_call(device[0].topic("user/ask"))
    def answer(call):
        return b"answer to " + call.payload

    answer.wait_granted(10)
    request = sandbox_pb2.CallDeviceRequest(device=platform.named(device[0]), topic=device[0].topic("user/ask"), payload=b"question")
    assert platform.console.CallDevice(request, timeout=10).payload == b"answer to question"
    assert answer(lk.Call("t", b"me")) == b"answer to me"
    answer.close()


def test_waits_for_a_sidecar_that_is_not_there_yet(make_client, tmp_path_factory):
    address = f"unix://{tmp_path_factory.mktemp('s')}/s.sock"
    began = time.monotonic()
    with make_client(address, start_timeout=0.3) as client:
        with pytest.raises(lk.SidecarUnavailableError) as raised:
            client.get_device()
        assert time.monotonic() - began < 5
        assert address in str(raised.value)
        assert raised.value.retryable
        client.events().close()


def test_a_closed_client_says_so(make_client, sidecar):
    client = make_client(sidecar.address)
    client.close()
    client.close()
    with pytest.raises(lk.ClientClosedError):
        client.get_device()
    with pytest.raises(lk.ClientClosedError):
        client.events()


def wait_for(what, within=30):
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def until(events, kind):
    seen = []
    while not (seen and isinstance(seen[-1], kind)):
        seen.append(events.next(30))
    return seen
