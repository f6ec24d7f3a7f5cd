"""What the platform's console takes and gives: frozen dataclasses and enumerations. Times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from linkkit_sidecar._enums import OpenEnum
from linkkit_sidecar.models import Device, DeviceSecret, DeviceToken

__all__ = [
    "CallOutcome",
    "CallResult",
    "CreatedDevice",
    "DeviceState",
    "Downstream",
    "Fault",
    "Login",
    "PlatformDevice",
    "Product",
    "PublishedMessage",
]


class DeviceState(OpenEnum):
    """Whether a device may log in."""

    UNSPECIFIED = 0
    ENABLED = 1
    DISABLED = 2
    """Its logins are refused with CONNACK 5."""


class Downstream(OpenEnum):
    """What became of a message for a device."""

    UNSPECIFIED = 0
    SENT = 1
    """It was written to the device's link. For QoS 1 the device's PUBACK may still be missing."""
    QUEUED = 2
    """Of QoS 1, it waits: for the device, whose session lasts, to come back; or for the acknowledgements of 100 messages before it."""
    NOT_SUBSCRIBED = 3
    """The device does not subscribe to the topic; the message was dropped."""
    OFFLINE = 4
    """The device is offline without a session that lasts, or the message has QoS 0; it was dropped."""


class CallOutcome(OpenEnum):
    """What became of a call."""

    UNSPECIFIED = 0
    ANSWERED = 1
    TIMEOUT = 2
    """The request was written to the device's link, and no answer came in time."""
    OFFLINE = 3
    """The device is offline; nothing was sent."""
    NOT_SUBSCRIBED = 4
    """The device does not subscribe to the request's topic; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product. Its secret does not show in repr().

    Attributes:
        product_key: Its key.
        product_secret: Its secret, for dynamic registration.
    """

    product_key: str
    product_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedDevice:
    """A device that was made.

    Attributes:
        device: The device.
        secret: Its secret, as `SidecarClient.connect` takes it; None when it has none before it registers.
    """

    device: Device
    secret: DeviceSecret | None


@dataclass(frozen=True, slots=True)
class PlatformDevice:
    """What the platform knows of a device.

    Attributes:
        device: The device.
        state: Whether it may log in.
        activated: Whether it ever logged in with its secret or a token. An activated device cannot register again before a reset.
        online: Whether it is connected now.
        connection_id: Number of the present link, from 1 upwards over the life of the sandbox; 0 when offline.
        last_connect_time: When it last logged in; None when it has not since the sandbox started.
        logins: How often it logged in since the sandbox started. Registrations and refused logins do not count.
        has_secret: Whether it has a device secret.
        device_secret: The secret; empty unless secrets were asked for. It does not show in repr().
        device_tokens: The tokens it got by registration-free registration, oldest first, at most 5; empty unless secrets were asked for.
        session_lasts: Whether the session outlives the link (`clean_session` False).
        messages_unacknowledged: QoS 1 messages that were sent to the device and not acknowledged, 0 to 100.
        messages_queued: QoS 1 messages that wait to be sent to it, 0 to 10000.
        messages_dropped: The device's messages that were acknowledged and dropped: on foreign topics, larger than 256 KiB or, by a strict
            sandbox, too fast.
        messages_over_rate: The device's messages that came too fast: beyond 30 messages or 1024 KiB within one second.
    """

    device: Device
    state: DeviceState = DeviceState.UNSPECIFIED
    activated: bool = False
    online: bool = False
    connection_id: int = 0
    last_connect_time: datetime | None = None
    logins: int = 0
    has_secret: bool = False
    device_secret: str = field(default="", repr=False)
    device_tokens: tuple[DeviceToken, ...] = ()
    session_lasts: bool = False
    messages_unacknowledged: int = 0
    messages_queued: int = 0
    messages_dropped: int = 0
    messages_over_rate: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """What became of a call to a device.

    Attributes:
        outcome: What became of it.
        payload: What the device answered; empty unless it did.
        call_id: The call's number in the topics, decimal.
    """

    outcome: CallOutcome
    payload: bytes = b""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message that a device published, and that the platform took.

    Attributes:
        topic: The topic, without a ``?_rid=`` suffix.
        payload: The payload.
        qos: 0 or 1.
        receive_time: When it arrived.
        message_id: The MQTT packet identifier; 0 for QoS 0.
        duplicate: Whether the device marked it as sent again (MQTT's DUP flag).
        connection_id: Number of the link that it came over, as in `PlatformDevice`.
        late_call_answer: Whether it has the topic of an answer to a call, and no call waits for it.
        number: Counts the device's messages, from 1, without gaps.
    """

    topic: str
    payload: bytes
    qos: int = 0
    receive_time: datetime | None = None
    message_id: int = 0
    duplicate: bool = False
    connection_id: int = 0
    late_call_answer: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class Login:
    """One MQTT CONNECT, taken or refused.

    Attributes:
        device: The device that the user name claimed; None when it claimed none.
        receive_time: When the CONNECT arrived.
        client_id: The MQTT client id as it was sent, with its parameters.
        tls: Whether it came over TLS.
        tls_server_name: The server name that the TLS client asked for (SNI); empty when it asked for none.
        connack_code: The CONNACK code that was sent, 0 to 5; None when none was.
        reason: Why, for people.
        remote_address: The device's address, ``IP:PORT``.
    """

    device: Device | None
    receive_time: datetime | None = None
    client_id: str = ""
    tls: bool = False
    tls_server_name: str = ""
    connack_code: int | None = None
    reason: str = ""
    remote_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to misbehave: exactly one effect, and whom and how often it hits. "Abruptly" is with TCP's reset.

    Attributes:
        device: The device whose connections it acts on; None: any device's.
        connections: On how many connections it acts before it goes away; 0: until it is cleared.
        refuse_code: Refuse the CONNECT with this CONNACK code, 1 to 255, whatever its credentials.
        delay: Seconds to wait before the CONNECT is looked at, more than 0 and at most 600.
        cut_after_bytes: Close the socket abruptly after this many bytes of MQTT were sent to the device, 1 or more. CONNACK is the first 4.
        swallow_pingresp: Never answer a PINGREQ.
        swallow_puback: Never acknowledge a publish of QoS 1; it is recorded all the same.
        no_connack: Never answer the CONNECT, and leave the socket open.
        duplicate: Send each message of QoS 1 twice, the second time marked as sent again (DUP).
        reorder: Swap each two consecutive messages to the device; the first waits 1 second at most.
        cut_publish_after_bytes: Close the socket abruptly after this many bytes of the next PUBLISH to the device, 1 or more.
        cut_received_after_bytes: Close the socket abruptly after this many bytes, 1 or more, came from the device after its CONNECT.
        cut_puback_missing_bytes: Record the device's next QoS 1 message, and close the socket abruptly with this many of the 4 bytes of
            its PUBACK missing, 1 to 4.

    Raises:
        ValueError: There is no effect, or more than one.
    """

    device: Device | None = None
    connections: int = 0
    refuse_code: int | None = None
    delay: float | None = None
    cut_after_bytes: int | None = None
    swallow_pingresp: bool = False
    swallow_puback: bool = False
    no_connack: bool = False
    duplicate: bool = False
    reorder: bool = False
    cut_publish_after_bytes: int | None = None
    cut_received_after_bytes: int | None = None
    cut_puback_missing_bytes: int | None = None

    def __post_init__(self) -> None:
        if len(self.effects()) != 1:
            raise ValueError(f"a fault has exactly one effect, not {sorted(self.effects()) or 'none'}: give one beside device and connections")

    def effects(self) -> dict[str, float | bool]:
        """Return the effects that are given, by name: exactly one."""
        named = {name: getattr(self, name) for name in self.__slots__ if name not in ("device", "connections")}
        return {name: value for name, value in named.items() if value is not None and value is not False}
