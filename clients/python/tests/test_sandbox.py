"""The console of the sandbox, typed: each of its calls, on a device that a real sidecar keeps online."""

from __future__ import annotations

import dataclasses
import queue
import re
import time
from datetime import datetime, timezone

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar.sandbox import (
    CallOutcome,
    Console,
    DeviceState,
    Downstream,
    Fault,
    Sandbox,
    models,
)
from linkkit_sidecar.sandbox.v1 import sandbox_pb2


def test_every_call_of_the_service_has_a_method_and_every_field_a_place():
    service = sandbox_pb2.DESCRIPTOR.services_by_name["SandboxService"]
    for method in service.methods:
        name = re.sub(r"(?<=.)([A-Z])", r"_\1", method.name).lower()
        assert callable(getattr(Console, name, None)), f"Console has no {name} for {method.name}"
    for cls, message in [
        (models.Product, sandbox_pb2.CreateProductResponse),
        (models.PlatformDevice, sandbox_pb2.DeviceStatus),
        (models.CallResult, sandbox_pb2.CallDeviceResponse),
        (models.PublishedMessage, sandbox_pb2.PublishedMessage),
        (models.Login, sandbox_pb2.Login),
        (models.Fault, sandbox_pb2.Fault),
    ]:
        assert {f.name for f in dataclasses.fields(cls)} == {f.name for f in message.DESCRIPTOR.fields}, cls
    for cls, enum in [
        (models.DeviceState, sandbox_pb2.DeviceState),
        (models.Downstream, sandbox_pb2.Delivery),
        (models.CallOutcome, sandbox_pb2.CallOutcome),
    ]:
        prefix = re.sub(r"(?<=.)([A-Z])", r"_\1", enum.DESCRIPTOR.name).upper() + "_"
        assert {m.name: m.value for m in cls} == {name.removeprefix(prefix): value for name, value in enum.items()}


def test_makes_products_and_devices(linkkit_platform):
    product = linkkit_platform.create_product(dynamic_registration=False)
    assert product.product_secret not in repr(product)
    with pytest.raises(lk.ConflictError):
        linkkit_platform.create_product(product.product_key)
    named = lk.Device(product.product_key, "one")
    created = linkkit_platform.create_device(named, device_secret="s" * 32)
    assert created == models.CreatedDevice(named, lk.DeviceSecret("s" * 32))
    with pytest.raises(lk.ConflictError):
        linkkit_platform.create_device(named)
    with pytest.raises(lk.NotFoundError):
        linkkit_platform.create_device(lk.Device("none", "one"))
    with pytest.raises(lk.InvalidRequestError):
        linkkit_platform.create_device(lk.Device(product.product_key, "no spaces"))
    assert linkkit_platform.create_device(lk.Device(product.product_key, "two"), generate_secret=False).secret is None
    one, two = linkkit_platform.list_devices(product.product_key)
    assert (one.device, one.has_secret, one.device_secret, one.state) == (named, True, "", DeviceState.ENABLED)
    assert (two.device.device_name, two.has_secret, two.online) == ("two", False, False)
    revealed = linkkit_platform.list_devices(product.product_key, reveal_secrets=True)[0]
    assert revealed.device_secret == "s" * 32
    assert revealed.device_secret not in repr(revealed)
    linkkit_platform.delete_device(named)
    assert len(linkkit_platform.list_devices(product.product_key)) == 1
    with pytest.raises(lk.NotFoundError):
        linkkit_platform.delete_device(named)


def test_does_to_a_device_what_an_operator_could(linkkit_client, linkkit_device, linkkit_platform):
    with linkkit_client.events() as events:
        until(events, lk.Snapshot)
        assert linkkit_platform.kick_device(linkkit_device)
        until(events, lk.Lost)
        until(events, lk.Online)
        linkkit_platform.disable_device(linkkit_device)
        assert until(events, lk.Refused).code == 5
        (status,) = (one for one in linkkit_platform.list_devices() if one.device == linkkit_device)
        assert status.state is DeviceState.DISABLED
        assert status.activated
        assert status.last_connect_time is not None
        assert not linkkit_platform.kick_device(linkkit_device)
        linkkit_platform.enable_device(linkkit_device)
    linkkit_platform.reset_device(linkkit_device)
    (status,) = (one for one in linkkit_platform.list_devices() if one.device == linkkit_device)
    assert not status.activated
    assert not status.has_secret


def test_sends_messages_and_tells_what_became_of_them(linkkit_client, linkkit_device, linkkit_platform):
    topic = linkkit_device.topic("user/get")
    assert linkkit_platform.publish_downstream(linkkit_device, topic, "nobody asked") is Downstream.NOT_SUBSCRIBED
    with linkkit_client.messages(topic) as messages:
        messages.wait_granted(10)
        assert linkkit_platform.publish_downstream(linkkit_device, topic, "hello") is Downstream.SENT
        assert linkkit_platform.publish_downstream(linkkit_device, topic, b"bytes", qos=0) is Downstream.SENT
        assert [(m.payload, m.qos) for m in (messages.next(10), messages.next(10))] == [(b"hello", 1), (b"bytes", 0)]
    delivered = queue.Queue()
    with linkkit_client.consume("inbox", delivered.put, filters=[topic]) as consumer:
        consumer.wait_granted(10)
        assert linkkit_platform.publish_downstream(linkkit_device, topic, "kept") is Downstream.SENT
        delivery = delivered.get(timeout=10)
        assert (delivery.topic, delivery.payload, delivery.count) == (topic, b"kept", 1)
    linkkit_client.disconnect()
    assert linkkit_platform.publish_downstream(linkkit_device, topic, "late") is Downstream.OFFLINE
    with pytest.raises(lk.InvalidRequestError):
        linkkit_platform.publish_downstream(linkkit_device, "/elsewhere/x", "")


def test_calls_a_device(linkkit_client, linkkit_device, linkkit_platform):
    @linkkit_client.on_call()
    def answer(call):
        return b"answer to " + call.payload

    answer.wait_granted(10)
    result = linkkit_platform.call_device(linkkit_device, "question", timeout=2.5)
    assert (result.outcome, result.payload) == (CallOutcome.ANSWERED, b"answer to question")
    assert result.call_id.isdigit()
    assert linkkit_platform.call_device(linkkit_device, topic=linkkit_device.topic("user/ask")).outcome is CallOutcome.NOT_SUBSCRIBED
    with pytest.raises(lk.InvalidRequestError):
        linkkit_platform.call_device(linkkit_device, timeout=9)


def test_tells_what_a_device_sent(linkkit_client, linkkit_device, linkkit_platform):
    big = b"x" * (256 << 10)
    with linkkit_client.publisher() as publisher:
        for _ in range(20):  # more than one answer holds
            publisher.publish(linkkit_device.topic("user/big"), big)
    linkkit_client.publish(linkkit_device.topic("user/update"), "last", qos=0)
    found = wait_for(lambda: linkkit_platform.list_messages(linkkit_device), lambda found: len(found) == 21)
    assert [m.number for m in found] == list(range(1, 22))
    assert all(m.payload == big for m in found[:20])
    last = found[-1]
    assert (last.topic, last.payload, last.qos, last.message_id, last.duplicate) == (linkkit_device.topic("user/update"), b"last", 0, 0, False)
    assert abs((datetime.now(timezone.utc) - last.receive_time).total_seconds()) < 60
    assert linkkit_platform.list_messages(linkkit_device, topic_filter="/+/+/user/update") == (last,)
    assert linkkit_platform.list_messages(linkkit_device, limit=1) == (last,)
    assert linkkit_platform.list_messages(linkkit_device, after_number=20) == (last,)


def test_tells_of_logins(linkkit_sidecar, linkkit_created, linkkit_platform):
    device = linkkit_created.device
    with linkkit_sidecar.client() as client, pytest.raises(lk.RefusedError):
        client.connect(device, credential=lk.DeviceSecret("wrong"), endpoint=linkkit_platform.endpoint)
    (login,) = linkkit_platform.list_logins(device)
    assert (login.device, login.connack_code, login.tls, login.tls_server_name) == (device, 4, True, "localhost")
    assert login in linkkit_platform.list_logins()
    assert login.reason
    with linkkit_sidecar.client() as client:
        client.forget_device(device, force=True)


def test_misbehaves_to_order(linkkit_platform, linkkit_device):
    kinds = [
        Fault(refuse_code=3, connections=2),
        Fault(delay=0.25, device=linkkit_device),
        *(Fault(**{name: True}) for name in ("swallow_pingresp", "swallow_puback", "no_connack", "duplicate", "reorder")),
        *(Fault(**{name: 3}) for name in ("cut_after_bytes", "cut_publish_after_bytes", "cut_received_after_bytes", "cut_puback_missing_bytes")),
    ]
    effects = {f.name for f in sandbox_pb2.Fault.DESCRIPTOR.oneofs_by_name["effect"].fields}
    assert {name for kind in kinds for name in kind.effects()} == effects
    for kind in kinds:
        linkkit_platform.set_fault(kind)
    assert sorted(map(repr, linkkit_platform.list_faults())) == sorted(map(repr, kinds))
    assert linkkit_platform.clear_faults(linkkit_device) == 1
    assert linkkit_platform.clear_faults() == len(kinds) - 1
    assert linkkit_platform.list_faults() == ()
    with pytest.raises(lk.InvalidRequestError):
        linkkit_platform.set_fault(Fault(refuse_code=256))
    for wrong in ({}, {"refuse_code": 3, "reorder": True}):
        with pytest.raises(ValueError, match="exactly one effect"):
            Fault(**wrong)


def test_a_fault_does_what_it_says(linkkit_sidecar, linkkit_created, linkkit_platform):
    linkkit_platform.set_fault(Fault(device=linkkit_created.device, refuse_code=5, connections=1))
    with linkkit_sidecar.client() as client:
        with pytest.raises(lk.RefusedError) as raised:
            client.connect(linkkit_created.device, credential=linkkit_created.secret, endpoint=linkkit_platform.endpoint)
        assert raised.value.reason == "REFUSED_NOT_AUTHORIZED"
        assert client.connect(linkkit_created.device, credential=linkkit_created.secret, endpoint=linkkit_platform.endpoint).online
        client.forget_device(linkkit_created.device, force=True)


def test_registers_devices_over_mqtt_and_https(linkkit_sidecar, linkkit_platform):
    with linkkit_sidecar.client() as client:
        for method, endpoint in [
            (lk.RegistrationMethod.PRE_REGISTERED, linkkit_platform.endpoint),
            (lk.RegistrationMethod.HTTPS_LEGACY, linkkit_platform.https_endpoint),
        ]:
            device = linkkit_platform.new_device(generate_secret=False).device
            made = client.register(device, product_secret=linkkit_platform.product_secret, method=method, endpoint=endpoint)
            assert made.device == device
            assert client.connect(device, endpoint=linkkit_platform.endpoint).online
            client.forget_device(device, force=True)


def test_begins_with_a_fixture_and_keeps_its_authority(tmp_path):
    fixture = tmp_path / "fixture.yaml"
    fixture.write_text("products: [{product_key: p1, product_secret: PsSecret01234567, devices: [{device_name: d1, device_secret: s1}]}]")
    with Sandbox(fixture=fixture, state_dir=tmp_path / "state", args=["--strict"], log=tmp_path / "log") as platform:
        assert [one.device for one in platform.list_devices()] == [lk.Device("p1", "d1")]
        with pytest.raises(ValueError, match="began with a fixture"):
            _ = platform.product_secret
        trusted = platform.tls
    with Sandbox(state_dir=tmp_path / "state") as platform:
        assert platform.tls == trusted
        assert platform.list_devices() == ()
        with Console(platform.control_address) as console:
            assert console.list_devices() == ()
        assert platform.pid
        assert platform.control_address in repr(platform)
    assert platform.pid is None


def test_a_start_that_fails_is_explained(tmp_path):
    with pytest.raises(lk.StartError, match=r"exit code 2(.|\n)*nothing\.yaml"):
        Sandbox(fixture=tmp_path / "nothing.yaml")


def until(events, kind):
    while True:
        event = events.next(30)
        if isinstance(event, kind):
            return event


def wait_for(what, good, within=30):
    deadline = time.monotonic() + within
    while not good(found := what()):
        assert time.monotonic() < deadline, f"it did not come: {found}"
        time.sleep(0.02)
    return found
