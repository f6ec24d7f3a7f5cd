"""The dataclasses and enumerations follow the protocol, and keep secrets out of sight."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar import _convert, errors, events, models
from linkkit_sidecar.v1 import connectivity_pb2, device_pb2, error_reason_pb2, event_pb2, messaging_pb2, settings_pb2

ENUMS = [
    (models.LinkState, device_pb2.LinkState),
    (models.Cause, device_pb2.Cause),
    (models.CredentialKind, device_pb2.CredentialKind),
    (models.RegistrationMethod, connectivity_pb2.RegistrationMethod),
    (models.ConnectWait, connectivity_pb2.ConnectWait),
    (models.SignMethod, settings_pb2.SignMethod),
    (models.Assurance, messaging_pb2.Assurance),
    (models.Outcome, messaging_pb2.Outcome),
    (events.EventKind, event_pb2.EventKind),
    (events.DropReason, event_pb2.DropReason),
    (events.WarningCode, event_pb2.WarningCode),
]


@pytest.mark.parametrize(("ours", "theirs"), ENUMS, ids=lambda e: getattr(e, "__name__", ""))
def test_an_enumeration_has_the_protocols_members(ours, theirs):
    prefix = "".join("_" + c if c.isupper() else c.upper() for c in theirs.DESCRIPTOR.name)[1:] + "_"
    named = {name.removeprefix(prefix): number for name, number in theirs.items()}
    named.pop("UNSPECIFIED")
    have = {member.name: member.value for member in ours if member.value}
    assert have == named


def test_a_number_without_a_name_is_told_as_one():
    cause = models.Cause(99)
    assert cause.name == "UNRECOGNIZED_99"
    assert cause == 99


MESSAGES = [
    (models.Device, device_pb2.Device),
    (models.DeviceStatus, device_pb2.DeviceStatus),
    (models.QueueStatus, device_pb2.QueueStatus),
    (models.DeviceCounters, device_pb2.DeviceCounters),
    (models.CredentialInfo, device_pb2.CredentialInfo),
    (models.Endpoint, settings_pb2.Endpoint),
    (models.TlsSettings, settings_pb2.TlsSettings),
    (models.MqttSettings, settings_pb2.MqttSettings),
    (models.ReconnectSettings, settings_pb2.ReconnectSettings),
    (models.EthernetInterface, settings_pb2.EthernetInterface),
    (models.WifiInterface, settings_pb2.WifiInterface),
    (models.CellularInterface, settings_pb2.CellularInterface),
    (models.DeviceToken, settings_pb2.DeviceToken),
    (models.MqttCredential, settings_pb2.MqttCredential),
    (models.Message, messaging_pb2.IncomingMessage),
    (models.Inbox, messaging_pb2.Inbox),
    (models.Cursor, event_pb2.Cursor),
    (events.SequenceRange, event_pb2.SequenceRange),
    *((kind, event_pb2.EventsResponse.DESCRIPTOR.fields_by_name[name].message_type._concrete_class) for name, kind in _convert._EVENTS.items()),
]


@pytest.mark.parametrize(("ours", "theirs"), MESSAGES, ids=lambda c: getattr(c, "__name__", ""))
def test_a_dataclass_has_the_protocols_fields(ours, theirs):
    common = {"cursor", "time", "device"} if issubclass(ours, events.Event) else set()
    assert {f.name for f in dataclasses.fields(ours)} - common == {f.name for f in theirs.DESCRIPTOR.fields}


def test_every_event_is_known():
    kinds = {f.name for f in event_pb2.EventsResponse.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert kinds == {*_convert._EVENTS, "events_lost"}


def test_a_status_is_read_whole():
    proto = device_pb2.DeviceStatus(
        device=device_pb2.Device(product_key="p", device_name="d"), state=device_pb2.LINK_STATE_ONLINE, last_cause=device_pb2.CAUSE_DNS, attempt=3
    )
    proto.state_time.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc))
    proto.counters.connects = 7
    status = _convert.from_proto(models.DeviceStatus, proto)
    assert status.device == models.Device("p", "d")
    assert status.state is models.LinkState.ONLINE
    assert status.online
    assert status.state_time == datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc)
    assert status.next_attempt_time is None
    assert status.credential is None
    assert status.last_cause is models.Cause.DNS
    assert status.counters.connects == 7


def test_an_event_of_a_newer_sidecar_is_told():
    assert isinstance(_convert.event(event_pb2.EventsResponse()), events.UnknownEvent)


def test_secrets_do_not_show():
    secret = "hunter2"
    for value in (models.DeviceSecret(secret), models.DeviceToken("id", secret), models.MqttCredential("id", "name", secret)):
        assert secret not in repr(value)
        assert secret not in f"{value}"


def test_every_reason_has_a_class_and_advice():
    for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name:
        reason = name.removeprefix("ERROR_REASON_")
        if reason == "UNSPECIFIED":
            continue
        kind = errors.class_for(reason)
        assert kind is not errors.SidecarError, reason
        assert kind("x", reason=reason).advice, reason
    known = {n.removeprefix("ERROR_REASON_") for n in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}
    assert {reason for reason, *_ in errors._REASONS} <= known


def test_a_reason_of_a_newer_sidecar_goes_by_its_code():
    assert errors.class_for("SOMETHING_NEW", "UNAVAILABLE") is lk.SidecarUnavailableError
    assert errors.class_for("SOMETHING_NEW", "SOMETHING_NEW") is lk.SidecarError


def test_errors_are_the_builtin_ones_too():
    assert issubclass(lk.DeadlineExceededError, TimeoutError)
    assert issubclass(lk.SidecarUnavailableError, ConnectionError)
    assert issubclass(lk.InvalidRequestError, ValueError)
    assert issubclass(lk.NotFoundError, LookupError)


def test_names_of_devices():
    device = models.Device.parse("a1B2c3D4e5F/dev-001")
    assert str(device) == "a1B2c3D4e5F/dev-001"
    assert device.topic("user/update") == device.topic("/user/update") == "/a1B2c3D4e5F/dev-001/user/update"
    for text in ("", "a", "a/", "/b", "a/b/c"):
        with pytest.raises(ValueError, match="PRODUCT_KEY/DEVICE_NAME"):
            models.Device.parse(text)


def test_nothing_public_is_protobuf():
    for name in lk.__all__:
        assert not getattr(getattr(lk, name), "__module__", "").endswith("_pb2"), name


def test_a_delay_of_a_verdict_is_bounded():
    for delay in (-1, 604801):
        with pytest.raises(ValueError, match="604800"):
            models.Retry(delay)
