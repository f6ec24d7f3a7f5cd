"""What can go wrong, as exceptions: one root, one class for each kind of reason.

The sidecar gives every error a reason, a name that stays (``error_reason.proto`` documents each). The reason chooses the class, so a
program catches what it can deal with and reads `SidecarError.reason` where it must tell apart more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CallerError",
    "ClientClosedError",
    "ConflictError",
    "CredentialError",
    "DeadlineExceededError",
    "ExpiredError",
    "FieldViolation",
    "ForkedError",
    "InternalError",
    "InvalidRequestError",
    "LimitError",
    "NotFoundError",
    "NotOnlineError",
    "OutcomeUnknownError",
    "PlatformUnreachableError",
    "RefusedError",
    "SidecarError",
    "SidecarUnavailableError",
    "StorageError",
    "UntrustedError",
]


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request that breaks a rule."""

    field: str
    """The field, as the protocol names it: ``endpoint.port``."""
    description: str
    """The rule, in words."""


class SidecarError(Exception):
    """The root of all errors of this package.

    Attributes:
        reason: The sidecar's name for what went wrong, such as ``NOT_ONLINE``; empty when the error is not the sidecar's own (nobody
            listens, the deadline passed, the client is closed).
        code: The gRPC status code's name, such as ``UNAVAILABLE``; empty when no call was made.
        detail: What happened, in words.
        retryable: Whether the same call may succeed later without anything being changed.
        retry_after: In how many seconds, when the sidecar said so; else None.
        advice: What to do about it.
        violations: The fields that break a rule, of an `InvalidRequestError`.
        metadata: More that the sidecar told, by name: ``code`` of a refusal, say.
    """

    retryable = False
    advice = "Read the message; the sidecar's log has more."

    def __init__(
        self,
        detail: str,
        *,
        reason: str = "",
        code: str = "",
        retry_after: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        self.code = code
        self.retry_after = retry_after
        self.violations = violations
        self.metadata = dict(metadata or {})
        if reason in _ADVICE:
            self.advice = _ADVICE[reason]
        if reason in _RETRYABLE or retry_after is not None:
            self.retryable = True

    def __str__(self) -> str:
        return f"{self.detail} [{self.reason}]" if self.reason else self.detail


class InvalidRequestError(SidecarError, ValueError):
    """The request breaks a rule; `violations` names the fields. Nothing was done."""

    advice = "Mend the request: `violations` and the message name what is wrong."


class NotFoundError(SidecarError, LookupError):
    """The sidecar knows no such device, inbox or call."""


class ConflictError(SidecarError):
    """What is there already is in the way: other settings, a stored credential, another caller. Nothing was changed."""


class CredentialError(SidecarError):
    """There is no credential to log in with."""


class RefusedError(SidecarError):
    """The platform refused: a login, a registration or a topic filter."""


class UntrustedError(SidecarError):
    """The platform's server did not prove who it is: its certificate is of another root, for another name, or out of its time."""


class PlatformUnreachableError(SidecarError):
    """The platform could not be reached, or did not answer. The sidecar goes on trying."""

    retryable = True
    advice = "Nothing: the sidecar goes on trying. If it lasts, look at the network between it and the platform."


class NotOnlineError(SidecarError):
    """The device is not online, so nothing was sent."""


class OutcomeUnknownError(SidecarError):
    """It is not known whether the platform has the message. Sending it again may make it arrive twice."""

    retryable = True
    advice = "Send it again if the receiver can bear a second copy; or publish STORED with a key, which is never taken twice."


class ExpiredError(SidecarError):
    """The time of a message or of a call has passed."""


class LimitError(SidecarError):
    """A queue, an outbox or a number of calls is at its limit. Nothing was taken."""

    retryable = True
    advice = "Make room or ask less often; then try again."


class StorageError(SidecarError):
    """The sidecar's state directory is full or broken. What was not acknowledged is not kept."""


class CallerError(SidecarError):
    """The sidecar's policy or token check does not let this program do this. It says nothing about the device."""


class InternalError(SidecarError):
    """A fault of the sidecar, or an answer that it could not understand."""


class SidecarUnavailableError(SidecarError, ConnectionError):
    """No sidecar answers at the address, or it is stopping, or it went away in the middle of the call."""

    retryable = True
    advice = "Start the sidecar (`linkkit-sidecar serve`), or give its address as LINKKIT_SIDECAR_ADDRESS; then try again."


class DeadlineExceededError(SidecarError, TimeoutError):
    """The call's time passed before its end. What it asked for may happen all the same."""

    retryable = True
    advice = "Look at the device's state, or give a longer `timeout`."


class ClientClosedError(SidecarError):
    """The client was closed."""

    advice = "Make a new client."


class ForkedError(SidecarError):
    """The client was made in the parent process, and gRPC's connections do not survive a fork."""

    advice = "Make the client in the child process, or start children by multiprocessing's 'spawn' method."


# What each reason means here: its class, whether to try again, what to do.
_REASONS: tuple[tuple[str, type[SidecarError], bool, str], ...] = (
    ("INVALID_REQUEST", InvalidRequestError, False, "Mend the fields that `violations` names."),
    ("DEVICE_AMBIGUOUS", InvalidRequestError, False, "Name the device: the sidecar knows none, or more than one."),
    ("DUPLICATE_ID", InvalidRequestError, False, "Give each message of a stream an id of its own."),
    ("DEVICE_UNKNOWN", NotFoundError, False, "Connect or register the device first."),
    ("INBOX_UNKNOWN", NotFoundError, False, "Make the inbox by consuming it with filters."),
    ("CALL_UNKNOWN", NotFoundError, False, "Answer each call on the stream that brought it."),
    ("SETTINGS_CONFLICT", ConflictError, False, "Give replace=True to take these settings, or disconnect first."),
    ("CREDENTIAL_EXISTS", ConflictError, False, "Connect with the stored credential, or give replace=True to register again."),
    ("REGISTRATION_IN_PROGRESS", ConflictError, True, "Wait for the other registration, then look at the device."),
    ("STILL_CONNECTED", ConflictError, False, "Disconnect the device first, or give force=True."),
    ("SUPERSEDED", ConflictError, True, "Another call was faster: look at the device's state and decide."),
    ("KEY_CONFLICT", ConflictError, False, "Use another key for another message."),
    ("INBOX_CONFLICT", ConflictError, False, "Leave the filters out, or give replace=True."),
    ("INBOX_NOT_EMPTY", ConflictError, False, "Consume the messages, or give force=True."),
    ("CALL_ANSWERED", ConflictError, False, "Answer each call once."),
    ("NO_CREDENTIAL", CredentialError, False, "Give a credential, or register the device."),
    ("REFUSED_PROTOCOL_VERSION", RefusedError, False, "Connect with the other MQTT version."),
    ("REFUSED_IDENTIFIER", RefusedError, False, "Look at the keep alive (30 to 1200 seconds) and the client id."),
    ("REFUSED_SERVER_UNAVAILABLE", RefusedError, True, "Nothing: the sidecar tries again, more slowly."),
    ("REFUSED_BAD_CREDENTIALS", RefusedError, False, "Compare product key, device name and secret with the console."),
    ("REFUSED_NOT_AUTHORIZED", RefusedError, False, "Enable the device in the console; use TLS if the instance refuses plain TCP."),
    ("REFUSED_OTHER", RefusedError, False, "Read the message: the platform gave a code that MQTT 3.1.1 does not define."),
    ("REGISTRATION_REFUSED", RefusedError, False, "Read the registration service's message; `metadata` has its code."),
    ("SUBSCRIPTION_REFUSED", RefusedError, False, "Look at the topic's permission in the console."),
    ("TLS_UNTRUSTED", UntrustedError, False, "Give the server's root as TlsSettings.ca_pem if you trust it."),
    ("TLS_NAME_MISMATCH", UntrustedError, False, "Give the host's name as Endpoint.host and its address as dial_address."),
    ("TLS_EXPIRED", UntrustedError, False, "Set this machine's clock, or have the server's certificate renewed."),
    ("DNS_FAILED", PlatformUnreachableError, True, "Look at the region or host name, and at this machine's resolver."),
    ("DIAL_REFUSED", PlatformUnreachableError, True, "Look at host and port: nobody listens there."),
    ("DIAL_TIMEOUT", PlatformUnreachableError, True, "Look at the network and at firewalls: nobody answers."),
    ("TLS_FAILED", PlatformUnreachableError, True, "Look at the port: does it speak TLS?"),
    ("CONNACK_TIMEOUT", PlatformUnreachableError, True, PlatformUnreachableError.advice),
    ("PROTOCOL_VIOLATION", PlatformUnreachableError, True, "Look at host and port: what answers does not speak MQTT as the platform does."),
    ("NETWORK_FAILED", PlatformUnreachableError, True, PlatformUnreachableError.advice),
    ("REGISTRATION_NO_REPLY", PlatformUnreachableError, True, "Register again; the platform accepted the login and sent nothing."),
    ("NOT_ONLINE", NotOnlineError, True, "Wait for the device to be online, or publish STORED."),
    ("OUTCOME_UNKNOWN", OutcomeUnknownError, True, OutcomeUnknownError.advice),
    ("MESSAGE_EXPIRED", ExpiredError, False, "Give a longer ttl, or let it go."),
    ("CALL_EXPIRED", ExpiredError, False, "Answer within 8 seconds."),
    ("QUEUE_FULL", LimitError, True, "Wait for receipts before sending more, or raise MqttSettings.max_queued."),
    ("OUTBOX_FULL", LimitError, True, "Wait until the device is online and the outbox has room."),
    ("TOO_MANY_SUBSCRIPTIONS", LimitError, False, "Use fewer filters: the platform takes 100 a device."),
    ("TOO_MANY_INBOXES", LimitError, False, "Delete an inbox that nobody needs."),
    ("CALLER_LIMIT", LimitError, True, "Ask less often, or hold fewer streams."),
    ("STORAGE_FULL", StorageError, True, "Make room on the sidecar's disk."),
    ("STORAGE_FAILED", StorageError, False, "Read the sidecar's log and look at its state directory."),
    ("CALLER_NOT_PERMITTED", CallerError, False, "Have the sidecar's policy changed, or run as a caller that it permits."),
    ("CALLER_UNKNOWN", CallerError, False, "Give the sidecar's token."),
    ("REGISTRATION_REPLY_INVALID", InternalError, False, "Register again; if it lasts, read the sidecar's log."),
    ("INTERNAL", InternalError, False, "Read the sidecar's log: this is a fault of its own."),
    ("SHUTTING_DOWN", SidecarUnavailableError, True, "Wait for the sidecar to come back."),
)

_CLASSES = {reason: kind for reason, kind, _, _ in _REASONS}
_RETRYABLE = {reason for reason, _, retryable, _ in _REASONS if retryable}
_ADVICE = {reason: advice for reason, _, _, advice in _REASONS}

# For errors without a reason: they come from gRPC itself, not from the sidecar.
_CODES: dict[str, type[SidecarError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ConflictError,
    "FAILED_PRECONDITION": ConflictError,
    "ABORTED": ConflictError,
    "UNAVAILABLE": SidecarUnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "RESOURCE_EXHAUSTED": LimitError,
    "PERMISSION_DENIED": CallerError,
    "UNAUTHENTICATED": CallerError,
    "INTERNAL": InternalError,
    "DATA_LOSS": InternalError,
}


def class_for(reason: str, code: str = "") -> type[SidecarError]:
    """Return the class of a reason; of a code where the reason is unknown or empty."""
    return _CLASSES.get(reason) or _CODES.get(code, SidecarError)
