"""What a call to the sidecar needs, whichever client makes it: the channel's address and options, and errors as exceptions."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from . import errors

DEFAULT_ADDRESS = "unix:///run/linkkit-sidecar/sidecar.sock"

# A sidecar that restarts is found again within a second, not within gRPC's two minutes. Each client has connections of its own, so that
# closing one touches no other. A message of 256 KiB and a batch of 64 of them must fit.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.enable_retries", 0),
]


class Target:
    """Where the sidecar is and how to prove who calls.

    A Unix socket needs nothing. TCP takes TLS when `ca_file` is given: it then verifies the sidecar by it, and shows the certificate of
    `cert_file` and `key_file`, or the token in `token_file`.
    """

    def __init__(self, address: str | None, *, ca_file: str | None, cert_file: str | None, key_file: str | None, token_file: str | None) -> None:
        self.address = address or os.environ.get("LINKKIT_SIDECAR_ADDRESS") or DEFAULT_ADDRESS
        if (cert_file is None) != (key_file is None):
            raise ValueError("give cert_file and key_file together, or neither")
        if cert_file and not ca_file:
            raise ValueError("give ca_file too: a client certificate is shown over TLS only")
        if token_file and not ca_file and not self.address.startswith("unix:"):
            raise ValueError("give ca_file too: a token is not sent over TCP without TLS")
        self.options = list(_OPTIONS)
        if self.address.startswith("unix:"):
            # What TLS and HTTP/2 call authority; a socket's path is none.
            self.options.append(("grpc.default_authority", "localhost"))
        self.credentials: grpc.ChannelCredentials | None = None
        if ca_file and self.address.startswith("unix:"):
            raise ValueError("leave ca_file out: a Unix socket has no TLS, it knows who calls")
        if ca_file:
            self.credentials = grpc.ssl_channel_credentials(
                Path(ca_file).read_bytes(),
                Path(key_file).read_bytes() if key_file else None,
                Path(cert_file).read_bytes() if cert_file else None,
            )
        self.metadata: Sequence[tuple[str, str]] | None = None
        if token_file:
            self.metadata = [("authorization", "Bearer " + Path(token_file).read_text(encoding="utf-8").strip())]

    def nobody(self, within: float, why: str = "") -> errors.SidecarUnavailableError:
        """The error for an address at which nobody answers."""
        detail = f"no sidecar answered at {self.address} within {within:g} s" + (f": {why}" if why else "")
        return errors.SidecarUnavailableError(detail, code="UNAVAILABLE")


def may_repeat(error: grpc.RpcError, idempotent: bool) -> bool:
    """Tell whether a call that failed may be made again: it never left, for there was no connection; or it was cut, and is idempotent."""
    code, details, trailers = _parts(error)
    if code != "UNAVAILABLE" or any(key == "linkkit-reason" for key, _ in trailers):
        return False
    return idempotent or unsent(details)


def unsent(details: str) -> bool:
    """Tell by gRPC's words whether a call or a stream never left: there was no connection for it."""
    return "failed to connect" in details.lower() or "resolution failed" in details.lower()


def code_of(error: grpc.RpcError) -> str:
    """Return the name of an error's status code."""
    return _parts(error)[0]


def _parts(error: grpc.RpcError) -> tuple[str, str, list[tuple[str, Any]]]:
    read: Any = error  # what is raised is a grpc.Call too, or an AioRpcError
    code = read.code()
    return (code.name if code is not None else "UNKNOWN"), read.details() or "", [(key, value) for key, value in read.trailing_metadata() or ()]


class Origin:
    """The process that made a client and what it has opened. Of gRPC, a child that was forked has neither connections nor threads."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def forked(self) -> bool:
        """Tell whether this is another process."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise `ForkedError` in another process."""
        if self.forked():
            raise errors.ForkedError("this client was made before the process forked")


class Deadline:
    """When a call has to be over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return how many seconds are left, 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    def passed(self) -> bool:
        """Tell whether it has passed, or will in a moment: the sidecar counts from when the call reached it, by its own clock."""
        return time.monotonic() >= self._end - 0.1


def to_error(
    error: grpc.RpcError, deadline: Deadline | None = None, cut: type[errors.SidecarError] | None = None, closed: bool = False
) -> errors.SidecarError:
    """Make an exception of this package of what gRPC raised.

    A `cut` for a call whose connection was lost before the answer came, or whose client was `closed` meanwhile.
    """
    code, details, trailers = _parts(error)
    found = dict(trailers)
    reason = str(found.get("linkkit-reason", ""))
    retry_after: float | None = None
    violations: list[errors.FieldViolation] = []
    metadata: dict[str, str] = {}
    status = status_pb2.Status()
    with contextlib.suppress(DecodeError):  # of what cannot be read, the code and the words are enough
        status.ParseFromString(found.get("grpc-status-details-bin", b""))
        for packed in status.details:
            info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(retry):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif packed.Unpack(bad):
                violations += [errors.FieldViolation(one.field, one.description) for one in bad.field_violations]
    kind = errors.class_for(reason, code)
    if not reason and code in ("UNKNOWN", "CANCELLED") and deadline is not None and deadline.passed():
        # The sidecar was the first to notice, and resets the stream, which gRPC has no good name for.
        return errors.DeadlineExceededError("the call's time has passed", code="DEADLINE_EXCEEDED")
    if closed and code == "CANCELLED" and not reason:
        return (cut or errors.ClientClosedError)("the client was closed before the answer came", code=code)
    if cut is not None and code == "UNAVAILABLE" and not reason and not unsent(details):
        return cut(f"the connection to the sidecar was lost before the answer came: {details}", code=code)
    if not details:
        details = f"the sidecar answered {code}"
    return kind(details, reason=reason, code=code, retry_after=retry_after, violations=tuple(violations), metadata=metadata)
