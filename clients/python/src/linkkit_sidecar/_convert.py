"""Between dataclasses and protobuf messages.

A dataclass's fields have the names of the message's, so most of it is done by those names, by a plan that is made once for each class. What
many messages a second go through (outgoing and incoming messages, receipts) is written out.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import datetime, timezone
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message as Proto

from . import errors, events, models
from .v1 import connectivity_pb2, device_pb2, error_reason_pb2, event_pb2, messaging_pb2, settings_pb2

T = TypeVar("T")

_Reader = Callable[[Any], Any]


def from_proto(cls: Callable[..., T], proto: Proto, **given: Any) -> T:
    """Make a dataclass of a message; `given` are fields that the message does not have."""
    return cls(**{name: read(proto) for name, read in _plan(cls) if name not in given}, **given)


@cache
def _plan(cls: Any) -> list[tuple[str, _Reader]]:
    hints = typing.get_type_hints(cls)
    return [(f.name, _reader(f.name, hints[f.name])) for f in dataclasses.fields(cls)]


def _reader(name: str, hint: Any) -> _Reader:
    if typing.get_origin(hint) is tuple:
        item: Any = typing.get_args(hint)[0]
        if dataclasses.is_dataclass(item):
            kind: Any = item
            return lambda proto: tuple(from_proto(kind, one) for one in getattr(proto, name))
        return lambda proto: tuple(getattr(proto, name))
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if optional:
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if hint is datetime:
        return lambda proto: getattr(proto, name).ToDatetime(timezone.utc) if proto.HasField(name) else None
    if dataclasses.is_dataclass(hint):
        nested: Any = hint
        if optional:
            return lambda proto: from_proto(nested, getattr(proto, name)) if proto.HasField(name) else None
        return lambda proto: from_proto(nested, getattr(proto, name))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return lambda proto: hint(getattr(proto, name))
    return lambda proto: getattr(proto, name)


def to_proto(kind: Callable[..., Any], value: Any) -> Any:
    """Make a message of a dataclass that has its fields; None is left out."""
    return kind(**{f.name: v for f in dataclasses.fields(value) if (v := getattr(value, f.name)) is not None})


def reason_name(value: int) -> str:
    """Return an error reason without its prefix; empty for none."""
    if value == 0:
        return ""
    try:
        return error_reason_pb2.ErrorReason.Name(typing.cast(Any, value)).removeprefix("ERROR_REASON_")
    except ValueError:  # a newer sidecar's
        return f"UNRECOGNIZED_{value}"


# Requests.


def device(value: models.Device | None) -> device_pb2.Device | None:
    """None: the sidecar takes the only device that it knows."""
    if value is None:
        return None
    if not isinstance(value, models.Device):
        raise TypeError(f"a device is a Device, not {type(value).__name__}: Device.parse reads PRODUCT_KEY/DEVICE_NAME")
    return device_pb2.Device(product_key=value.product_key, device_name=value.device_name)


def filters(value: typing.Iterable[str]) -> typing.Iterable[str]:
    if isinstance(value, str):
        raise TypeError("filters are a sequence of topic filters, not one str")
    return value


MAX_PAYLOAD = 256 << 10
"""The platform's limit, in bytes. One that is greater is refused here: a batch with it might be too much for the sidecar to read at all."""


def payload(value: models.Payload) -> bytes:
    """Return the bytes of a message.

    Raises:
        TypeError: It is neither bytes nor str.
        InvalidRequestError: It is greater than the platform takes.
    """
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    elif not isinstance(value, bytes):
        raise TypeError(f"a payload is bytes, bytearray, memoryview or str, not {type(value).__name__}")
    if len(value) > MAX_PAYLOAD:
        problem = f"has {len(value)} bytes; the platform takes at most {MAX_PAYLOAD}"
        raise errors.InvalidRequestError(f"payload {problem}", reason="INVALID_REQUEST", violations=(errors.FieldViolation("payload", problem),))
    return value


def interface(value: models.NetworkInterface) -> settings_pb2.NetworkInterface:
    if isinstance(value, models.EthernetInterface):
        return settings_pb2.NetworkInterface(ethernet=settings_pb2.EthernetInterface(mac=value.mac))
    if isinstance(value, models.WifiInterface):
        return settings_pb2.NetworkInterface(wifi=settings_pb2.WifiInterface(mac=value.mac))
    return settings_pb2.NetworkInterface(cellular=to_proto(settings_pb2.CellularInterface, value))


def credential(value: models.Credential | None) -> dict[str, Any]:
    """The one field of a ConnectRequest that carries it."""
    if value is None:
        return {}
    if isinstance(value, models.DeviceSecret):
        return {"device_secret": value.secret}
    if isinstance(value, models.DeviceToken):
        return {"device_token": to_proto(settings_pb2.DeviceToken, value)}
    return {"mqtt_credential": to_proto(settings_pb2.MqttCredential, value)}


def where(endpoint: models.Endpoint | None, dial_address: str, tls: models.TlsSettings | None, sign_method: models.SignMethod | None) -> dict[str, Any]:
    """The fields that registering and connecting have in common."""
    return {
        "endpoint": None if endpoint is None else to_proto(settings_pb2.Endpoint, endpoint),
        "dial_address": dial_address,
        "tls": None if tls is None else to_proto(settings_pb2.TlsSettings, tls),
        "sign_method": sign_method,
    }


def connect_request(
    *,
    device: device_pb2.Device | None,
    credential: dict[str, Any],
    where: dict[str, Any],
    mqtt: models.MqttSettings | None,
    reconnect: models.ReconnectSettings | None,
    network_interfaces: typing.Iterable[models.NetworkInterface],
    wait: models.ConnectWait,
    replace: bool,
) -> connectivity_pb2.ConnectRequest:
    return connectivity_pb2.ConnectRequest(
        device=device,
        mqtt=None if mqtt is None else to_proto(settings_pb2.MqttSettings, mqtt),
        reconnect=None if reconnect is None else to_proto(settings_pb2.ReconnectSettings, reconnect),
        network_interfaces=[interface(one) for one in network_interfaces],
        wait=typing.cast(Any, wait),
        replace=replace,
        **credential,
        **where,
    )


def outgoing(
    topic: str,
    content: models.Payload,
    qos: int,
    assurance: models.Assurance,
    ttl: int,
    priority: int,
    key: str,
    traceparent: str,
) -> messaging_pb2.OutgoingMessage:
    if assurance is models.Assurance.CONFIRMED and not (ttl or priority or key or traceparent):
        return messaging_pb2.OutgoingMessage(topic=topic, payload=payload(content), qos=qos)
    return messaging_pb2.OutgoingMessage(
        topic=topic,
        payload=payload(content),
        qos=qos,
        assurance=typing.cast(Any, assurance),
        ttl=ttl,
        priority=priority,
        key=key,
        traceparent=traceparent,
    )


# Responses.


def registration(proto: connectivity_pb2.RegisterResponse) -> models.Registration:
    return models.Registration(
        device=from_proto(models.Device, proto.device),
        credential=from_proto(models.CredentialInfo, proto.credential),
        device_secret=models.DeviceSecret(proto.device_secret) if proto.device_secret else None,
        device_token=from_proto(models.DeviceToken, proto.device_token) if proto.HasField("device_token") else None,
    )


def receipt(proto: messaging_pb2.Receipt | messaging_pb2.PublishResponse) -> models.Receipt:
    return models.Receipt(models.Outcome(proto.outcome), proto.sequence, proto.duplicate)


def message(proto: messaging_pb2.IncomingMessage) -> models.Message:
    return models.Message(proto.topic, proto.payload, proto.qos, proto.duplicate, _utc(proto.receive_time) if proto.HasField("receive_time") else None)


def _utc(time: timestamp_pb2.Timestamp) -> datetime:
    """The same as protobuf's ToDatetime, in a tenth of its time."""
    return datetime.fromtimestamp(time.seconds, timezone.utc).replace(microsecond=time.nanos // 1000)


def call(proto: messaging_pb2.Call) -> models.Call:
    return from_proto(models.Call, proto)


_EVENTS: dict[str, type[events.Event]] = {
    "snapshot": events.Snapshot,
    "connecting": events.Connecting,
    "online": events.Online,
    "refused": events.Refused,
    "attempt_failed": events.AttemptFailed,
    "lost": events.Lost,
    "disconnected": events.Disconnected,
    "registered": events.Registered,
    "registration_failed": events.RegistrationFailed,
    "subscription_refused": events.SubscriptionRefused,
    "takeover_suspected": events.TakeoverSuspected,
    "messages_dropped": events.MessagesDropped,
    "warning": events.Warned,
    "forgotten": events.Forgotten,
    "stored_ended": events.StoredEnded,
}


def cursor(proto: event_pb2.Cursor) -> models.Cursor:
    return models.Cursor(proto.epoch, proto.sequence)


def event(proto: event_pb2.EventsResponse) -> events.Event | models.Gap:
    """An event, or a gap where events are gone."""
    which = proto.WhichOneof("event")
    if which == "events_lost":
        return models.Gap(proto.events_lost.count or None, proto.events_lost.detail, cursor(proto.cursor))
    common: dict[str, Any] = {
        "cursor": cursor(proto.cursor),
        "time": proto.time.ToDatetime(timezone.utc) if proto.HasField("time") else None,
        "device": from_proto(models.Device, proto.device) if proto.HasField("device") else None,
    }
    if which is None or which not in _EVENTS:
        return events.UnknownEvent(**common)
    if which == "stored_ended":
        common["reason"] = reason_name(proto.stored_ended.reason)
    return from_proto(_EVENTS[which], getattr(proto, which), **common)
