"""Events: what happens to devices, as the sidecar tells it.

Each is a frozen dataclass on `Event`. Match on the class::

    for event in client.events():
        match event:
            case Online(): ...
            case Lost(cause, detail): ...
            case Gap(missed): ...
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ._enums import OpenEnum
from .models import Cause, CredentialInfo, Cursor, Device, DeviceStatus, Outcome

__all__ = [
    "AttemptFailed",
    "Connecting",
    "Disconnected",
    "DropReason",
    "Event",
    "EventKind",
    "Forgotten",
    "Lost",
    "MessagesDropped",
    "Online",
    "Refused",
    "Registered",
    "RegistrationFailed",
    "SequenceRange",
    "Snapshot",
    "StoredEnded",
    "SubscriptionRefused",
    "TakeoverSuspected",
    "UnknownEvent",
    "Warned",
    "WarningCode",
]


class EventKind(OpenEnum):
    """The kinds of events, to choose from. The snapshot and gaps come always."""

    CONNECTING = 1
    ONLINE = 2
    REFUSED = 3
    ATTEMPT_FAILED = 4
    LOST = 5
    DISCONNECTED = 6
    REGISTERED = 7
    REGISTRATION_FAILED = 8
    SUBSCRIPTION_REFUSED = 9
    TAKEOVER_SUSPECTED = 10
    MESSAGES_DROPPED = 11
    WARNING = 12
    FORGOTTEN = 13
    STORED_ENDED = 16


class DropReason(OpenEnum):
    """Why messages were dropped."""

    UNSPECIFIED = 0
    UNCLAIMED = 1
    """The platform sent them and no app had asked for them."""
    SLOW_READER = 2
    """An app subscribed to them and did not take them in time."""
    INBOX_FULL = 3
    """An inbox was full, and its oldest messages made room."""
    DEAD_LETTER = 4
    """They went to an inbox's dead letters."""
    BY_CONSUMER = 5
    """An app answered them with drop."""
    INBOX_STORAGE = 6
    """They could not be put into an inbox."""


class WarningCode(OpenEnum):
    """What should be looked at."""

    UNSPECIFIED = 0
    ROOT_EXPIRES = 1
    """The trusted root that the server's chain ends in expires within two years."""
    HOSTNAME_NOT_VERIFIED = 2
    """The server's certificate was accepted without its name being verified."""
    PLAIN_TCP = 3
    """The link is plain TCP: everything on it is readable."""
    STATE_SET_ASIDE = 4
    """A file of the state directory could not be used and was set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The root of all events.

    Attributes:
        cursor: The place after this event.
        time: When it happened, by the sidecar's clock.
        device: Whom it concerns; None in a `Snapshot`.
    """

    cursor: Cursor
    time: datetime | None = None
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class Snapshot(Event):
    """Where things stand: the first event of a stream, and the first after the stream was resumed.

    Attributes:
        devices: The devices that were asked for; at most 500 in one.
        more: Another snapshot follows, with the next devices.
    """

    devices: tuple[DeviceStatus, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Connecting(Event):
    """An attempt began.

    Attributes:
        attempt: Since the link last held: 1 is the first.
        endpoint: The server as ``host:port``.
    """

    attempt: int = 0
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Online(Event):
    """The platform accepted the device.

    Attributes:
        session_present: Whether the platform kept the session of the link before.
        connack_time: When CONNACK came.
        endpoint: The server as ``host:port``.
        attempt: The attempt that succeeded.
    """

    session_present: bool = False
    connack_time: datetime | None = None
    endpoint: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The platform refused the device by a CONNACK code.

    Attributes:
        code: The code, 1 to 255.
        cause: The same as a cause.
        meaning: What it means on the platform.
        advice: What to do about it.
        will_retry: Whether the sidecar tries again by itself.
        next_attempt_time: When; None when it does not.
    """

    code: int = 0
    cause: Cause = Cause.UNSPECIFIED
    meaning: str = ""
    advice: str = ""
    will_retry: bool = False
    next_attempt_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt failed before the platform answered.

    Attributes:
        cause: Why.
        detail: Why, in words.
        next_attempt_time: When the sidecar tries again; None when it does not.
        attempt: The attempt that failed.
    """

    cause: Cause = Cause.UNSPECIFIED
    detail: str = ""
    next_attempt_time: datetime | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A link was lost.

    Attributes:
        cause: Why.
        detail: Why, in words.
        next_attempt_time: When the sidecar tries again.
        held_ms: How long the link had held, in milliseconds.
    """

    cause: Cause = Cause.UNSPECIFIED
    detail: str = ""
    next_attempt_time: datetime | None = None
    held_ms: int = 0


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A link, or the wish for one, was ended on purpose.

    Attributes:
        cause: REQUESTED or SHUTDOWN.
    """

    cause: Cause = Cause.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Registered(Event):
    """A device was registered and its credential stored.

    Attributes:
        method: The method, as in RegistrationMethod's names.
        credential: What was stored.
    """

    method: str = ""
    credential: CredentialInfo | None = None


@dataclass(frozen=True, slots=True)
class RegistrationFailed(Event):
    """A registration did not succeed; nothing stored was touched.

    Attributes:
        method: The method, as in RegistrationMethod's names.
        cause: Why.
        detail: Why, in words.
        code: The CONNACK code, or the HTTPS reply's; 0 when there was no answer.
        interrupted: The sidecar was stopped in the middle; it may be done again.
    """

    method: str = ""
    cause: Cause = Cause.UNSPECIFIED
    detail: str = ""
    code: int = 0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionRefused(Event):
    """The platform refused a topic filter.

    Attributes:
        filter: The filter.
    """

    filter: str = ""


@dataclass(frozen=True, slots=True)
class TakeoverSuspected(Event):
    """Another program seems to log in as the device: look for a second replica or an old program with the same identity.

    Attributes:
        losses: How many times in a row the link was closed shortly after CONNACK.
        next_attempt_time: When the sidecar tries again: later than usual.
    """

    losses: int = 0
    next_attempt_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessagesDropped(Event):
    """Messages were dropped.

    Attributes:
        count: How many since the last event of this kind.
        reason: Why.
        topic: The topic of the last one.
    """

    count: int = 0
    reason: DropReason = DropReason.UNSPECIFIED
    topic: str = ""


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """Consecutive numbers of STORED messages.

    Attributes:
        first: The first.
        last: The last.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StoredEnded(Event):
    """STORED messages ended. Each message is in exactly one such event.

    Attributes:
        outcome: ACKNOWLEDGED, SENT (QoS 0), EXPIRED or DROPPED.
        reason: The name of the error reason, for EXPIRED and DROPPED; else empty.
        count: How many.
        ranges: Which, by their numbers in the outbox (`Receipt.sequence`), in rising order.
    """

    outcome: Outcome = Outcome.UNSPECIFIED
    reason: str = ""
    count: int = 0
    ranges: tuple[SequenceRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something works but should be looked at. The protocol's name is Warning, which Python has taken.

    Attributes:
        code: What.
        detail: What, in words, and what to do.
    """

    code: WarningCode = WarningCode.UNSPECIFIED
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten(Event):
    """The sidecar forgot a device: its credential and its settings are gone."""


@dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """An event of a kind that a newer sidecar has and this client does not know."""
