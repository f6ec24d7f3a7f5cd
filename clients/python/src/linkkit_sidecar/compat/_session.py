"""One life of a link: from connect_async() to disconnect() or destruct()."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from linkkit_sidecar import errors, events
from linkkit_sidecar.client import EventStream, SidecarClient
from linkkit_sidecar.models import Cause, ConnectWait, DeviceStatus, Gap, LinkState, Registration

from ._arrivals import Arrival
from ._configuration import configuration
from ._log import Log
from ._login import Login

# What the vendor's MQTT library calls them.
RC_LOST = 7
RC_KEEPALIVE = 16
RC_FORCED = 1
RC_TLS_SETUP = 6
RC_SETUP = 7
RC_SOCKET = 9

_CODES = {
    Cause.CONNACK_PROTOCOL_VERSION: 1,
    Cause.CONNACK_IDENTIFIER: 2,
    Cause.CONNACK_SERVER_UNAVAILABLE: 3,
    Cause.CONNACK_BAD_CREDENTIALS: 4,
    Cause.CONNACK_NOT_AUTHORIZED: 5,
}
_LEAST_PAUSE = 15.0  # seconds between logins that are refused: the platform takes five a minute


class Owner(Protocol):
    """What a session tells: LinkKit. All but `_has_arrived` is called on the session's thread or on the one that ends it."""

    def _is_connecting(self) -> None: ...
    def _is_wanted(self) -> None: ...
    def _is_forgotten(self) -> None: ...
    def _wait_ready(self) -> None: ...
    def _is_up(self, session_present: bool) -> None: ...
    def _is_down(self, rc: int) -> None: ...
    def _is_refused(self, rc: int) -> None: ...
    def _is_unusable(self, rc: int) -> None: ...
    def _is_registered(self, registration: Registration | None) -> None: ...
    def _is_not_registered(self, error: errors.SidecarError) -> None: ...
    def _has_arrived(self, arrival: Arrival) -> None: ...


class _Over(Exception):
    """The session has come to its end."""


class Session:
    """Registers the device if need be, has the sidecar keep it online, and tells its owner what happens, on a thread of its own.

    Args:
        client: The client.
        login: What the device proves itself with.
        connect: Arguments of the client's connect() beside credential, wait and replace.
        register: Those of register() that say where.
        pause: Seconds between attempts while there is no sidecar, or after a refusal: least and most.
        owner: Who is told.
        log: Tells the rest.
    """

    def __init__(
        self,
        client: SidecarClient,
        login: Login,
        connect: dict[str, Any],
        register: dict[str, Any],
        pause: tuple[float, float],
        owner: Owner,
        log: Log,
    ) -> None:
        self._client = client
        self._login = login
        self._connect = connect
        self._register = register
        self._pause = pause
        self._owner = owner
        self._log = log
        self._lock = threading.RLock()  # orders what is told
        self._asking = threading.Lock()  # orders connecting and disconnecting
        self._up = False
        self._lost_ns = 0  # when the last link was lost
        self._held: list[Arrival] | None = []  # what came on a link that the owner does not know of yet; None while it is up
        self._forced = False
        self._wanted = False  # the sidecar was asked to keep the device online
        self._retry: float | None = None  # when to ask it again
        self._stopping = threading.Event()
        self._events: EventStream | None = None
        self.released = False  # somebody else made the sidecar disconnect the device
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="linkkit-sidecar-session", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def again(self) -> None:
        """Have the sidecar asked again, for a device that somebody else has disconnected."""
        self.released, self._retry = False, time.monotonic()

    def reconnect(self) -> None:
        """Close the link and make it anew."""
        with self._lock:
            if not self._up or self._forced:
                return
            self._forced = True
        threading.Thread(target=self._reconnect, name="linkkit-sidecar-reconnect", daemon=True).start()

    def stop(self, settle: Callable[[], None]) -> None:
        """End the link and the session. `settle` is called between the link's end and its being told."""
        self._stopping.set()
        with self._asking:  # so that no wish to connect follows
            if self._wanted:
                try:
                    self._client.disconnect(self._login.device)
                except errors.SidecarError as error:
                    self._log.error("the sidecar was not told to disconnect: %s", error)
        settle()
        self._down(0)
        with self._lock:
            stream = self._events
        if stream is not None:
            stream.close()
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)  # a registration under way ends with the client

    def arrived(self, arrival: Arrival) -> None:
        """Hand over a message from the platform: behind the news of the link that it came on."""
        with self._lock:
            if self._held is not None and arrival.time_ns > self._lost_ns:
                self._held.append(arrival)
            else:
                self._owner._has_arrived(arrival)

    # Its thread.

    def _run(self) -> None:
        try:
            self._owner._is_connecting()
            if self._login.registers:
                self._become_known()
            while not self._asked():
                self._wait(self._pauses())
            self._follow()
        except _Over:
            pass
        except errors.SidecarError as error:
            if not self._stopping.is_set():
                self._log.error("what becomes of the device is not known any more: %s. %s", error, error.advice)
                self._down(RC_LOST)
                self._owner._is_unusable(RC_SETUP)
        except Exception:
            self._log.exception("the link's thread has failed")
        finally:
            self.over.set()

    def _pauses(self) -> float:
        least, most = self._pause
        return random.uniform(least, min(2 * least, most))

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _Over

    def _become_known(self) -> None:
        """Register until there is an answer."""
        login = self._login
        while True:
            try:
                registration: Registration | None = self._client.register(
                    login.device,
                    product_secret=login.product_secret or "",
                    method=login.method,  # type: ignore[arg-type]  # checked before
                    replace=configuration.register_again,
                    reveal_credential=True,
                    timeout=60,
                    **self._register,
                )
                break
            except errors.SidecarError as error:
                if error.reason == "CREDENTIAL_EXISTS":
                    self._log.warning("%s is registered already; the credential that the sidecar keeps is used", login.device)
                    registration = None
                    break
                if not isinstance(error, (errors.PlatformUnreachableError, errors.SidecarUnavailableError, errors.UntrustedError)) and (
                    error.reason != "REGISTRATION_IN_PROGRESS"
                ):
                    self._log.error("%s was not registered: %s. %s", login.device, error, error.advice)
                    self._owner._is_not_registered(error)
                    raise _Over from None
                self._log.error("%s", error)
                self._owner._is_refused(RC_SOCKET)
            self._wait(self._pauses())
            self._owner._is_connecting()
        self._owner._is_registered(registration)
        if login.auth_type:
            raise _Over  # the program goes on with what it was told

    def _asked(self) -> bool:
        """Ask the sidecar to keep the device online, and tell what stands in the way; False when it may not later."""
        try:
            self._ask()
        except (errors.SidecarUnavailableError, errors.DeadlineExceededError) as error:
            self._log.error("%s", error)
            self._owner._is_refused(RC_SOCKET)
            return False
        except errors.SidecarError as error:
            self._log.error("the device cannot be connected: %s. %s", error, error.advice)
            fields = [one.field for one in getattr(error, "violations", ())]
            self._owner._is_unusable(_CODES[Cause.CONNACK_BAD_CREDENTIALS] if isinstance(error, errors.CredentialError) else _setup_code(fields))
            raise _Over from None
        return True

    def _ask(self) -> None:
        with self._asking:
            if self._stopping.is_set():
                raise _Over
            self._retry, self.released, self._wanted = None, False, True
            self._client.connect(self._login.device, credential=self._login.credential(), wait=ConnectWait.NONE, replace=True, **self._connect)
        self._owner._is_wanted()

    def _follow(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                raise _Over
            stream = self._events = self._client.events((self._login.device,))
        with stream:
            while True:
                try:
                    item = stream.next(1.0 if self._retry is None else max(0.0, min(1.0, self._retry - time.monotonic())))
                except errors.DeadlineExceededError:
                    if self._retry is not None and time.monotonic() >= self._retry:
                        self._owner._is_connecting()
                        if not self._asked():
                            self._retry = time.monotonic() + self._pauses()
                    continue
                if self._stopping.is_set():
                    return  # whoever stops it tells the rest
                self._took(item)

    def _took(self, item: events.Event | Gap) -> None:
        match item:
            case events.Snapshot():
                for status in item.devices:
                    self._stands(status)
            case events.Connecting():
                self._retry = None
                self._down(RC_LOST)  # it was lost while nobody told us
                self._owner._is_connecting()
            case events.Online():
                self._down(RC_LOST)
                self._is_up(item.session_present)
            case events.Lost():
                self._log.warning("the link was lost: %s", item.detail)
                self._down(_rc(item.cause), item.time)
            case events.Disconnected():
                self.released = item.cause is Cause.REQUESTED and not self._forced
                self._down(0 if item.cause is Cause.REQUESTED else RC_LOST, item.time)
            case events.Refused():
                self._log.error("the platform refused the device with code %d: %s. %s", item.code, item.meaning, item.advice)
                self._not_up(item.code, item.will_retry)
            case events.AttemptFailed():
                self._log.error("the platform was not reached: %s", item.detail)
                self._not_up(RC_SOCKET, item.next_attempt_time is not None)
            case events.Forgotten():
                self._log.error("the sidecar was made to forget the device")
                self._down(RC_LOST)
                self._owner._is_forgotten()
                raise _Over
            case events.TakeoverSuspected():
                self._log.error("another program seems to log in as the device: look for a second copy of this one")
            case events.MessagesDropped() | events.Warned() | events.SubscriptionRefused():
                self._log.warning("%s", item)
            case Gap():
                self._log.warning("events are missing: %s", item.detail)
                with contextlib.suppress(errors.SidecarError):  # the next event tells
                    self._stands(self._client.get_device(self._login.device))

    def _stands(self, status: DeviceStatus) -> None:
        """Agree with where the sidecar stands, after it was asked to connect or was started again."""
        if status.state is LinkState.ONLINE:
            self._is_up(status.session_present)
            return
        self._down(_rc(status.last_cause), status.last_cause_time)
        self.released = status.state is LinkState.IDLE and not self._forced
        if status.state in (LinkState.WAITING, LinkState.REJECTED):
            self._log.error("the device is not online: %s", status.last_detail)
            self._not_up(_CODES.get(status.last_cause, RC_SOCKET), status.state is LinkState.WAITING)

    def _is_up(self, session_present: bool) -> None:
        self._owner._wait_ready()  # so that nothing is missed that comes because the program was told
        with self._lock:
            if self._up or self._stopping.is_set():
                return
            self._up = True
            self._owner._is_up(session_present)
            held, self._held = self._held or [], None
            for arrival in held:
                self._owner._has_arrived(arrival)

    def _down(self, rc: int, when: datetime | None = None) -> None:
        with self._lock:
            if not self._up:
                return
            self._up = False
            self._lost_ns = time.time_ns() if when is None else int(when.timestamp() * 1e9)
            self._held = []
            self._owner._is_down(RC_FORCED if self._forced else rc)

    def _not_up(self, rc: int, will_retry: bool) -> None:
        self._owner._is_refused(rc)
        if not will_retry:  # the vendor's tries on for ever, so that a device that is enabled again comes online by itself
            least, most = self._pause
            self._retry = time.monotonic() + max(most, _LEAST_PAUSE) + random.uniform(0, least)

    def _reconnect(self) -> None:
        try:
            self._client.disconnect(self._login.device)
            self._down(RC_FORCED)
            self._ask()
        except (errors.SidecarError, _Over) as error:
            self._log.error("the link was not made anew: %s", error)
            self._retry = time.monotonic()
        finally:
            self._forced = False


def _rc(cause: Cause) -> int:
    """What the vendor's on_disconnect says to a cause."""
    if cause is Cause.KEEPALIVE_TIMEOUT:
        return RC_KEEPALIVE
    return 0 if cause is Cause.REQUESTED else RC_LOST


def _setup_code(fields: list[str]) -> int:
    return RC_TLS_SETUP if any(one.startswith("tls") for one in fields) else RC_SETUP
