"""What the clients take and give: frozen dataclasses and enumerations. Events are in `linkkit_sidecar.events`.

Times are aware datetimes in UTC, durations are in seconds unless a name says otherwise, payloads are bytes. Enumerations are open: what
a newer sidecar says has a member named ``UNRECOGNIZED_number``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from ._enums import OpenEnum

__all__ = [
    "Assurance",
    "Call",
    "Cause",
    "CellularInterface",
    "ConnectWait",
    "Credential",
    "CredentialInfo",
    "CredentialKind",
    "Cursor",
    "Delivery",
    "Device",
    "DeviceCounters",
    "DeviceSecret",
    "DeviceStatus",
    "DeviceToken",
    "Done",
    "Drop",
    "Endpoint",
    "EthernetInterface",
    "Gap",
    "Inbox",
    "LinkState",
    "Message",
    "MqttCredential",
    "MqttProtocol",
    "MqttSettings",
    "NetworkInterface",
    "Outcome",
    "Payload",
    "QueueStatus",
    "Receipt",
    "ReconnectSettings",
    "Registration",
    "RegistrationMethod",
    "Retry",
    "SignMethod",
    "TlsSettings",
    "WifiInterface",
]


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the platform.

    Attributes:
        product_key: The product that it belongs to: 1 to 20 letters and digits, as the console shows it. Case matters.
        device_name: Its name within the product: 1 to 64 letters, digits or any of ``-_.:@``.
    """

    product_key: str
    device_name: str

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read ``PRODUCT_KEY/DEVICE_NAME``, as the command writes it.

        Raises:
            ValueError: It is not of that form.
        """
        product_key, slash, device_name = text.partition("/")
        if not (product_key and slash and device_name) or "/" in device_name:
            raise ValueError(f"{text!r} does not name a device: write PRODUCT_KEY/DEVICE_NAME")
        return cls(product_key, device_name)

    def __str__(self) -> str:
        return f"{self.product_key}/{self.device_name}"

    def topic(self, rest: str) -> str:
        """Return the device's custom topic with the given end: ``/PRODUCT_KEY/DEVICE_NAME/user/update`` for ``user/update``."""
        return f"/{self.product_key}/{self.device_name}/{rest.lstrip('/')}"


class LinkState(OpenEnum):
    """Where the sidecar stands with a device."""

    UNSPECIFIED = 0
    IDLE = 1
    """Known and not wanted online."""
    CONNECTING = 2
    """An attempt is under way."""
    ONLINE = 3
    """The platform accepted the device and the link is up."""
    WAITING = 4
    """The last attempt failed or the link was lost; `DeviceStatus.next_attempt_time` says when the next one starts."""
    REJECTED = 5
    """The platform refused the device on the first attempt; only another connect leaves this state."""


class Cause(OpenEnum):
    """Why a link is not up. Codes of CONNACK are MQTT 3.1.1's, section 3.2.2.3."""

    UNSPECIFIED = 0
    DNS = 1
    DIAL_REFUSED = 2
    DIAL_TIMEOUT = 3
    TLS_UNTRUSTED = 4
    TLS_NAME_MISMATCH = 5
    TLS_EXPIRED = 6
    TLS_OTHER = 7
    CONNACK_PROTOCOL_VERSION = 8
    """CONNACK 1."""
    CONNACK_IDENTIFIER = 9
    """CONNACK 2: malformed client id, or keep alive outside 30 to 1200 seconds."""
    CONNACK_SERVER_UNAVAILABLE = 10
    """CONNACK 3: overloaded, in maintenance, or more than five logins a minute."""
    CONNACK_BAD_CREDENTIALS = 11
    """CONNACK 4: wrong secret or token, unknown product or device; in a registration also: activated, or switched off."""
    CONNACK_NOT_AUTHORIZED = 12
    """CONNACK 5: the device is disabled, or the instance refuses plain TCP."""
    CONNACK_OTHER = 13
    CONNACK_TIMEOUT = 14
    PROTOCOL_VIOLATION = 15
    KEEPALIVE_TIMEOUT = 16
    WRITE_TIMEOUT = 17
    CLOSED_BY_SERVER = 18
    TAKEOVER_SUSPECTED = 19
    """The server closed the link shortly after accepting it, again and again: another program seems to log in as the device."""
    NETWORK = 20
    REQUESTED = 21
    """An app asked for it."""
    SHUTDOWN = 22
    """The sidecar is stopping."""
    NO_CREDENTIAL = 23
    STORAGE = 24
    REGISTRATION_REFUSED = 25
    REGISTRATION_NO_REPLY = 26
    ACK_TIMEOUT = 27
    """The platform stopped acknowledging."""


class CredentialKind(OpenEnum):
    """How a device proves who it is."""

    UNSPECIFIED = 0
    DEVICE_SECRET = 1
    DEVICE_TOKEN = 2
    MQTT = 3


class RegistrationMethod(OpenEnum):
    """The platform's ways of dynamic registration (one product, one secret). All need the product's switch for it to be on."""

    PRE_REGISTERED = 1
    """Over MQTT; the device was created beforehand and has never logged in. Gives a device secret."""
    REGISTRATION_FREE = 2
    """Over MQTT; registering creates the device. Gives a device token. Only in cn-shanghai and cn-beijing."""
    HTTPS_LEGACY = 3
    """Over HTTPS, as older SDKs do; the device was created beforehand. Gives a device secret. Only in cn-shanghai."""


class ConnectWait(OpenEnum):
    """What connect() waits for."""

    OUTCOME = 1
    """The outcome of the first attempt. When the time passes first, the sidecar goes on: the device stays wanted."""
    OUTCOME_OR_GIVE_UP = 2
    """The same, but when the time passes first, the sidecar gives up; a device that was wanted before stays so."""
    NONE = 3
    """Nothing: it returns when the wish is written down, and outcomes come as events."""


class SignMethod(OpenEnum):
    """The HMAC that signs a login."""

    HMACMD5 = 1
    HMACSHA1 = 2
    HMACSHA256 = 3


class MqttProtocol(OpenEnum):
    """The version of MQTT."""

    MQTT_3_1_1 = 1
    MQTT_3_1 = 2


class Assurance(OpenEnum):
    """What has been done with a message before its receipt comes."""

    CONFIRMED = 1
    """Sent now, or not at all: the receipt is the platform's acknowledgement."""
    STORED = 2
    """On disk in the device's outbox; from there it is sent, again after each loss and restart, until acknowledged or expired."""


Payload: TypeAlias = bytes | bytearray | memoryview | str
"""What a message carries, at most 256 KiB; a str is sent as UTF-8."""


class Outcome(OpenEnum):
    """What became of a message."""

    UNSPECIFIED = 0
    ACKNOWLEDGED = 1
    """The platform acknowledged it (PUBACK)."""
    SENT = 2
    """It was written to the link; the last that is heard of QoS 0."""
    FAILED = 3
    """It was not sent and will not be."""
    UNKNOWN = 4
    """The link was lost before PUBACK came: the platform may have it."""
    STORED = 5
    """It is on disk."""
    EXPIRED = 6
    """Its time to live passed before it was sent."""
    DROPPED = 7
    """The outbox dropped it."""


@dataclass(frozen=True, slots=True)
class DeviceSecret:
    """A device's secret. It does not show in repr().

    Attributes:
        secret: 1 to 64 characters.
    """

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """What a registration-free registration gives. The token does not show in repr().

    Attributes:
        client_id: The client id that belongs to the token, without the parameters between bars.
        token: The token.
    """

    client_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MqttCredential:
    """A ready-made MQTT login, sent as it is. The password does not show in repr().

    Attributes:
        client_id: MQTT's client id, whole; at most 1024 characters.
        username: MQTT's user name; at most 256 characters.
        password: MQTT's password; at most 1024 characters.
    """

    client_id: str
    username: str
    password: str = field(repr=False)


Credential: TypeAlias = DeviceSecret | DeviceToken | MqttCredential
"""What a device proves itself with."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which server of the platform to use: at most one of region, instance_id and host. With none, region cn-shanghai.

    Attributes:
        region: The region of an old public instance, such as ``cn-shanghai``.
        instance_id: A new public or enterprise instance, such as ``iot-0123abc``.
        host: A host name of your own: an exclusive instance, a proxy, or the sandbox.
        port: TCP port, 1 to 65535; 0 is the default, 8883.
    """

    region: str = ""
    instance_id: str = ""
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Whom to trust. By default: TLS 1.2 or newer, the platform's roots, the host's name verified.

    Attributes:
        ca_pem: PEM certificates to trust beside the built-in roots; at most 256 KiB.
        system_roots: Trust the operating system's roots too.
        skip_hostname_verification: Accept a certificate for another name; its chain is still verified. Raises a warning event.
        plain_tcp: No TLS at all: everything on the wire is readable. Raises a warning event.
    """

    ca_pem: str = ""
    system_roots: bool = False
    skip_hostname_verification: bool = False
    plain_tcp: bool = False


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """MQTT's settings.

    Attributes:
        keep_alive: Seconds, 30 to 1200 (the platform refuses others). None is the default, 60.
        clean_session: Start without the session that the platform kept; with False it keeps QoS 1 messages for 7 days. None is True.
        protocol: The version of MQTT. None is 3.1.1.
        max_inflight: QoS 1 messages under way at once, 1 to 65535; 0 is the default, 20.
        max_queued: QoS 1 messages that may wait for their turn; 0, the default, is no limit of their own.
        connect_timeout: Seconds for one attempt, 1 to 120; 0 is the default, 20.
    """

    keep_alive: int | None = None
    clean_session: bool | None = None
    protocol: MqttProtocol | None = None
    max_inflight: int = 0
    max_queued: int = 0
    connect_timeout: int = 0


@dataclass(frozen=True, slots=True)
class ReconnectSettings:
    """Bounds of the wait between two attempts, in seconds.

    Attributes:
        min_delay: 1 to 7200; 0 is the default, 1.
        max_delay: 1 to 7200 and not below min_delay; 0 is the default, 60.
    """

    min_delay: int = 0
    max_delay: int = 0


@dataclass(frozen=True, slots=True)
class EthernetInterface:
    """A wired interface that the console shows.

    Attributes:
        mac: 12 hexadecimal digits, with or without ``:`` or ``-`` between the pairs.
    """

    mac: str


@dataclass(frozen=True, slots=True)
class WifiInterface:
    """A Wi-Fi interface that the console shows.

    Attributes:
        mac: 12 hexadecimal digits, with or without ``:`` or ``-`` between the pairs.
    """

    mac: str


@dataclass(frozen=True, slots=True)
class CellularInterface:
    """A cellular modem that the console shows; at least one number is given.

    Attributes:
        imei: Digits, usually 15.
        iccid: Digits, some vendors also A to F; usually 19 to 21.
        imsi: Digits, usually 15.
        msisdn: Digits with the country code and without ``+``.
    """

    imei: str = ""
    iccid: str = ""
    imsi: str = ""
    msisdn: str = ""


NetworkInterface: TypeAlias = EthernetInterface | WifiInterface | CellularInterface
"""An interface that the platform's console shows. All of a device's together, as the platform writes them, have 160 characters at most."""


@dataclass(frozen=True, slots=True)
class CredentialInfo:
    """A stored credential, without telling it.

    Attributes:
        kind: What kind it is.
        fingerprint: 16 hexadecimal digits that tell two credentials apart and reveal neither.
        source: Where it came from: ``connect``, or ``register/`` and the method.
        stored_time: When it was stored.
    """

    kind: CredentialKind = CredentialKind.UNSPECIFIED
    fingerprint: str = ""
    source: str = ""
    stored_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration gave. Secrets do not show in repr().

    Attributes:
        device: The device.
        credential: What was stored.
        device_secret: The secret itself, when `reveal_credential` was given and the method gives one; else None.
        device_token: The token itself, under the same conditions; else None.
    """

    device: Device
    credential: CredentialInfo
    device_secret: DeviceSecret | None = None
    device_token: DeviceToken | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """What waits to be sent to the platform.

    Attributes:
        waiting: CONFIRMED messages that wait for their turn.
        in_flight: Messages that were sent and are not acknowledged.
        stored_messages: STORED messages in the outbox.
        stored_bytes: Bytes of these.
        oldest_stored_time: When the oldest of them was taken; None when there is none.
        max_messages_per_second: What the sidecar sends at most; 0 is no limit of its own.
        max_bytes_per_second: The same in bytes; 0 is no limit of its own.
        shaped: Whether messages wait now because of these limits.
    """

    waiting: int = 0
    in_flight: int = 0
    stored_messages: int = 0
    stored_bytes: int = 0
    oldest_stored_time: datetime | None = None
    max_messages_per_second: float = 0.0
    max_bytes_per_second: float = 0.0
    shaped: bool = False


@dataclass(frozen=True, slots=True)
class DeviceCounters:
    """Counts since the sidecar started.

    Attributes:
        attempts: Attempts to log in.
        connects: Logins that the platform accepted.
        refusals: Logins that the platform refused by a CONNACK code.
        losses: Links lost, not counting those ended on request.
        messages_unclaimed: Messages that the platform sent and nobody here had asked for.
        bytes_received: Bytes received on the device's links, before TLS.
        bytes_sent: Bytes sent on them, before TLS.
        messages_sent: Messages acknowledged, or written to the link with QoS 0.
        messages_unknown: Messages whose acknowledgement had not come when their link was lost.
        messages_received: Messages that the platform sent.
        messages_stored: STORED messages taken.
        stored_sent: STORED messages acknowledged, or written to the link with QoS 0.
        stored_expired: STORED messages whose time to live passed.
        stored_dropped: STORED messages that made room for newer ones.
        stored_refused: STORED messages that were not taken because the outbox was full.
        dropped_slow_reader: Messages that a reader did not take in time.
        dropped_inbox_full: Messages that an inbox dropped to make room.
        dropped_inbox_storage: Messages that could not be put into an inbox.
        dead_letters: Messages that went to dead letters.
        dropped_by_consumer: Messages that an app answered with drop.
    """

    attempts: int = 0
    connects: int = 0
    refusals: int = 0
    losses: int = 0
    messages_unclaimed: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    messages_sent: int = 0
    messages_unknown: int = 0
    messages_received: int = 0
    messages_stored: int = 0
    stored_sent: int = 0
    stored_expired: int = 0
    stored_dropped: int = 0
    stored_refused: int = 0
    dropped_slow_reader: int = 0
    dropped_inbox_full: int = 0
    dropped_inbox_storage: int = 0
    dead_letters: int = 0
    dropped_by_consumer: int = 0


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What the sidecar knows of a device at one moment.

    Attributes:
        device: The device.
        state: Where the sidecar stands with it.
        state_time: When that state was entered.
        wanted: Whether the sidecar is to keep it online, also after a restart.
        endpoint: The server as ``host:port``; empty before the first connect.
        attempt: The attempt under way, or the last one, since the link last held; 0 while idle.
        next_attempt_time: When the next attempt starts; None unless waiting.
        last_cause: Why the last attempt failed or the last link ended.
        last_detail: The same in words.
        last_cause_time: When that happened.
        session_present: Whether the platform kept the session of the link that is up.
        takeover_suspected: Whether another program seems to log in as this device.
        credential: The credential; None when there is none.
        registration_interrupted: A registration began and its end was not seen; it may be done again.
        counters: What was counted since the sidecar started.
        queue: What waits to be sent.
    """

    device: Device
    state: LinkState = LinkState.UNSPECIFIED
    state_time: datetime | None = None
    wanted: bool = False
    endpoint: str = ""
    attempt: int = 0
    next_attempt_time: datetime | None = None
    last_cause: Cause = Cause.UNSPECIFIED
    last_detail: str = ""
    last_cause_time: datetime | None = None
    session_present: bool = False
    takeover_suspected: bool = False
    credential: CredentialInfo | None = None
    registration_interrupted: bool = False
    counters: DeviceCounters = field(default_factory=DeviceCounters)
    queue: QueueStatus = field(default_factory=QueueStatus)

    @property
    def online(self) -> bool:
        """Whether the link is up."""
        return self.state is LinkState.ONLINE


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message.

    Attributes:
        outcome: ACKNOWLEDGED or SENT for a CONFIRMED message; STORED for a STORED one, or how it ended.
        sequence: Of a STORED message: its number in the device's outbox, which events of its end name; else 0.
        duplicate: Of a STORED message: its key was known, and this is what became of the first one.
    """

    outcome: Outcome
    sequence: int = 0
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message from the platform to the device.

    Attributes:
        topic: The topic.
        payload: The payload.
        qos: 0 or 1: the publisher's, whatever was subscribed with.
        duplicate: MQTT's DUP flag: the platform may have sent it before.
        receive_time: When the sidecar got it.
    """

    topic: str
    payload: bytes
    qos: int = 0
    duplicate: bool = False
    receive_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the sidecar's journal of events. It can be kept on disk and given to events() as `after`.

    Attributes:
        epoch: Which journal; it changes only when the sidecar had to start a new one.
        sequence: The last event before the place; 0 is the beginning.
    """

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Something is missing here: what should stand at this place of a stream is lost to this reader.

    Attributes:
        missed: How many items; None when nobody knows.
        detail: Why, in words.
        cursor: Of a stream of events: the place after the gap; else None.
    """

    missed: int | None
    detail: str
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of an inbox, for a consumer's handler to deal with.

    Attributes:
        message: The message.
        count: How often it was delivered, this time included.
        sequence: Its number in the inbox: the same when it comes again.
    """

    message: Message
    count: int
    sequence: int

    @property
    def topic(self) -> str:
        """The message's topic."""
        return self.message.topic

    @property
    def payload(self) -> bytes:
        """The message's payload."""
        return self.message.payload


@dataclass(frozen=True, slots=True)
class Done:
    """A consumer's verdict: the message is dealt with and leaves the inbox. Returning None says the same."""


class Retry(Exception):
    """A consumer's verdict, returned or raised: the message is to come again.

    Attributes:
        delay: After how many seconds, 0 to 604800 (a week). Default 0: at once.
    """

    def __init__(self, delay: float = 0.0) -> None:
        if not 0 <= delay <= 604800:
            raise ValueError(f"a delay of {delay} s: give 0 to 604800 (a week)")
        super().__init__(delay)
        self.delay = delay


class Drop(Exception):
    """A consumer's verdict, returned or raised: the message is of no use and leaves the inbox; the sidecar counts it."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the sidecar knows of an inbox.

    Attributes:
        inbox: Its name.
        filters: Its topic filters.
        messages: Messages in it.
        bytes: Bytes of these.
        oldest_time: When the oldest of them arrived; None when there is none.
        unanswered: Of the messages, those that are delivered and not answered.
        consumers: Streams that consume it now.
        max_deliveries: After how many deliveries a message goes to the dead letters; 0 is never.
    """

    inbox: str
    filters: tuple[str, ...] = ()
    messages: int = 0
    bytes: int = 0
    oldest_time: datetime | None = None
    unanswered: int = 0
    consumers: int = 0
    max_deliveries: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A request from the platform that waits for the device's answer (RRPC).

    Attributes:
        topic: The topic that it came on.
        payload: The request.
        receive_time: When the sidecar got it.
        deadline: Until when it can be answered: 8 seconds after it arrived. The one who calls may wait less, 5 seconds by default.
    """

    topic: str
    payload: bytes
    receive_time: datetime | None = None
    deadline: datetime | None = None
