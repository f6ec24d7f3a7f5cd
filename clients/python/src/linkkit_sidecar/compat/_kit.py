"""What a LinkKit object is inside: its state, what it is told of the link, and whom it tells."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from linkkit_sidecar import errors
from linkkit_sidecar.client import SidecarClient
from linkkit_sidecar.models import Registration, RegistrationMethod

from ._arrivals import Arrival, Arrivals
from ._callbacks import CallbackThread, Function
from ._configuration import configuration
from ._filters import unasked
from ._log import Log
from ._login import STORED, Login, token_login
from ._options import MqttOptions, Place
from ._outgoing import Outgoing
from ._session import Session
from ._values import ErrorCode, LinkKitState

_REMEMBERED_CALLS = 100
_State = LinkKitState

_kits: weakref.WeakSet[Kit] = weakref.WeakSet()


class Kit:
    """The part of `LinkKit` that is not the vendor's API."""

    def __init__(self, login: Login, place: Place, user_data: Any) -> None:
        self._login = login
        self._device = login.device
        self._place = place
        self._user_data = user_data
        self._options = MqttOptions()
        self._interfaces: Sequence[Any] = ()
        self._functions: dict[str, Function | None] = {}
        self._log = Log()
        self._callbacks = CallbackThread(self._log)
        self._state = _State.INITIALIZED
        self._lock = threading.Lock()  # orders changes of the state
        self._links = 0  # that were up so far, counted also when one is lost: tells news that has been overtaken
        self._client: SidecarClient | None = None
        self._outgoing: Outgoing | None = None
        self._session: Session | None = None
        self._arrivals: Arrivals | None = None
        self._forgotten = False  # by the sidecar, and with the device all streams of it
        self._stored = configuration.stored
        self._set_up = False
        self._enabled = False
        self._topics: dict[str, int] = {}  # subscribed to, with their QoS
        self._rrpc_topics: dict[str, int] = {}
        self._fresh: set[str] = set()  # of both, those that were subscribed to on the link that is up
        self._calls: OrderedDict[str, str] = OrderedDict()  # topics of calls without an answer, by their ids
        names = f"{self._device.product_key}/{self._device.device_name}"
        self._raw_down = f"/sys/{names}/thing/model/down_raw"
        self._raw_up_reply = f"/sys/{names}/thing/model/up_raw_reply"

    # The beginning and the end of a link.

    def _begin(self) -> None:
        if self._forgotten:
            self._end()
            self._close_client()
            self._forgotten = False
        if self._client is None:
            self._client = SidecarClient(configuration.address, device=self._device, start_timeout=1.0, resume_timeout=None)
            publisher = self._client.publisher(window=1 << 30)
            limit = 0 if self._stored else self._options.max_queued_message  # the sidecar's outbox has bounds of its own
            self._outgoing = Outgoing(publisher, self._log, lambda: self._callbacks.put(self._tell_published), limit, self._stored)
            _kits.add(self)
        where = self._place.arguments(self._options)
        connect = {**where, "mqtt": self._options.mqtt(), "reconnect": self._options.reconnect()}
        if not self._login.ready_made or self._login.device_secret:
            connect["network_interfaces"] = self._interfaces
        if self._login.method is RegistrationMethod.HTTPS_LEGACY and self._login.registers:
            where = self._place.registration(where)
        pause = (float(self._options.auto_reconnect_min_sec), float(self._options.auto_reconnect_max_sec))
        session = Session(self._client, self._login, connect, where, pause, self, self._log)
        self._session = session
        session.start()

    def _end(self) -> None:
        """End the link. It is told as such, and nothing of it remains subscribed."""
        session, arrivals = self._session, self._arrivals
        if session is not None:
            session.stop(lambda: self._settle(arrivals))
        self._session = self._arrivals = None
        if arrivals is not None:
            arrivals.close()
        if self._outgoing is not None:
            self._outgoing.forget()
        self._topics.clear()
        self._rrpc_topics.clear()
        self._fresh.clear()

    def _settle(self, arrivals: Arrivals | None) -> None:
        """Let what came before the link's end be told before it."""
        if self._outgoing is not None and not self._stored:
            self._outgoing.flush(1.0)
        if arrivals is not None:
            arrivals.drain(1.0)

    def _close(self) -> None:
        self._callbacks.stop()
        self._close_client()

    def _close_client(self) -> None:
        if self._outgoing is not None:
            self._outgoing.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _move(self, to: LinkKitState, *unless: LinkKitState) -> None:
        with self._lock:
            if self._state not in (*unless, _State.DESTRUCTING, _State.DESTRUCTED):
                self._state = to

    # What the session tells.

    def _is_connecting(self) -> None:
        self._move(_State.CONNECTING, _State.DISCONNECTING)

    def _is_wanted(self) -> None:
        if self._arrivals is None and self._client is not None:
            base = unasked(self._device) if self._login.system_topics else ()
            self._arrivals = Arrivals(self._client, self._device, base, configuration.max_waiting, self._hand_over, self._log)

    def _hand_over(self, arrival: Arrival) -> None:
        session = self._session
        if session is not None:
            session.arrived(arrival)

    def _is_forgotten(self) -> None:
        self._forgotten = True
        self._move(_State.DISCONNECTED)

    def _wait_ready(self) -> None:
        if self._arrivals is not None:
            self._arrivals.wait_ready(5.0)

    def _is_up(self, session_present: bool) -> None:
        self._links += 1
        if self._outgoing is not None:
            self._outgoing.resume()
        self._callbacks.put(self._tell_connected, int(session_present), self._links)

    def _is_down(self, rc: int) -> None:
        self._links += 1
        self._fresh.clear()
        self._move(_State.DISCONNECTED)
        self._callbacks.put(self._tell_disconnected, rc)

    def _is_refused(self, rc: int) -> None:
        self._move(_State.DISCONNECTED, _State.DISCONNECTING)
        self._callbacks.put(self._tell, "on_connect", 0, rc, self._user_data)

    def _is_unusable(self, rc: int) -> None:
        self._move(_State.INITIALIZED, _State.DISCONNECTING)
        self._callbacks.put(self._tell, "on_connect", 0, rc, self._user_data)

    def _is_registered(self, registration: Registration | None) -> None:
        """`registration` is None when the sidecar has a credential, which it does not tell: a word stands for it."""
        method = self._login.method
        if method is RegistrationMethod.REGISTRATION_FREE:
            self._move(_State.DISCONNECTED)
            self._callbacks.put(self._tell, "on_device_dynamic_register_nwl_reply", 0, *token_login(self._device, registration))
            return
        secret = registration.device_secret.secret if registration is not None and registration.device_secret is not None else STORED
        if method is RegistrationMethod.HTTPS_LEGACY:  # the only one after which the vendor's goes on by itself
            self._login.device_secret = secret
            self._callbacks.put(self._tell, "on_device_dynamic_register", 0, secret, self._user_data)
            return
        self._move(_State.DISCONNECTED)
        self._callbacks.put(self._tell, "on_device_dynamic_register", 0, secret, None)

    def _is_not_registered(self, error: errors.SidecarError) -> None:
        method = self._login.method
        if method is RegistrationMethod.HTTPS_LEGACY:
            self._move(_State.INITIALIZED)
            self._callbacks.put(self._tell, "on_device_dynamic_register", 1, str(error), self._user_data)
            return
        self._move(_State.DISCONNECTED)
        if method is RegistrationMethod.REGISTRATION_FREE:
            self._callbacks.put(self._tell, "on_device_dynamic_register_nwl_reply", ErrorCode.DYNREG_AUTH_NWL_FAILED.value, None, None, None)
        else:
            self._callbacks.put(self._tell, "on_device_dynamic_register", ErrorCode.DYNREG_AUTH_FAILED.value, None, None)

    def _has_arrived(self, arrival: Arrival) -> None:
        self._callbacks.put(self._tell_arrived, arrival)

    # On the callbacks' thread.

    def _tell(self, name: str, *args: Any) -> bool:
        """Call one of the program's functions, and tell whether there is one."""
        function = self._functions.get(name)
        if function is None:
            return False
        try:
            function(*args)
        except Exception:
            self._log.exception("%s raised an exception", name)
        return True

    def _tell_connected(self, session_flag: int, link: int) -> None:
        if link == self._links:  # else it was lost while the callbacks were behind
            self._move(_State.CONNECTED, _State.DISCONNECTING)
        self._tell("on_connect", session_flag, 0, self._user_data)
        if self._set_up:
            self._enabled = True
            self._tell("on_thing_enable", self._user_data)

    def _tell_disconnected(self, rc: int) -> None:
        if self._enabled:
            self._enabled = False
            self._tell("on_thing_disable", self._user_data)
        self._tell("on_disconnect", rc, self._user_data)

    def _tell_published(self) -> None:
        function = self._functions.get("on_publish_topic")
        user_data = self._user_data
        if self._outgoing is None:
            return
        for number in self._outgoing.take_done():
            if function is not None:
                try:
                    function(number, user_data)
                except Exception:
                    self._log.exception("on_publish_topic raised an exception")

    def _tell_arrived(self, arrival: Arrival) -> None:
        topic = arrival.topic
        if topic == self._raw_down:
            taken = self._tell("on_thing_raw_data_arrived", arrival.payload, self._user_data)
        elif topic == self._raw_up_reply:
            taken = self._tell("on_thing_raw_data_post", arrival.payload, self._user_data)
        else:
            if topic.startswith("/ext/rrpc/"):
                self._tell_call(arrival)
            taken = False  # the vendor's tells a call twice
        if not taken and not self._tell("on_topic_message", topic, arrival.payload, arrival.qos, self._user_data):
            self._log.error("a message on %s came, and on_topic_message is not set", topic)

    def _tell_call(self, arrival: Arrival) -> None:
        _, _, _, call, rest = arrival.topic.split("/", 4)
        if f"/{rest}" not in self._rrpc_topics or self._functions.get("on_topic_rrpc_message") is None:
            return
        self._calls[call] = arrival.topic
        while len(self._calls) > _REMEMBERED_CALLS:
            self._calls.popitem(last=False)
        self._tell("on_topic_rrpc_message", call, arrival.topic, arrival.payload, arrival.qos, self._user_data)

    # Subscriptions.

    def _subscribe(self, filters: list[tuple[str, str, int]], known: dict[str, int], callback: str | None) -> int:
        """Ask for filters, each with the name under which it is known and its QoS; return the number of the request."""
        number = self._number()

        def done(granted: list[bool]) -> None:
            codes = tuple(qos if yes else 128 for yes, (_, _, qos) in zip(granted, filters, strict=True))

            def tell() -> None:
                for yes, (_, name, qos) in zip(granted, filters, strict=True):
                    if yes:
                        known[name] = qos
                        self._fresh.add(name)
                if callback is not None:
                    self._tell(callback, number, codes, self._user_data)

            self._callbacks.put(tell)

        if self._arrivals is not None:
            self._arrivals.subscribe([one for one, _, _ in filters], done)
        return number

    def _unsubscribe(self, filters: list[str], done: Callable[[int], None]) -> int:
        number = self._number()
        if self._arrivals is not None:
            self._arrivals.unsubscribe(filters, lambda: self._callbacks.put(done, number))
        return number

    def _number(self) -> int:
        if self._outgoing is None:
            raise RuntimeError("no link was ever up")
        return self._outgoing.number()


@atexit.register
def _flush() -> None:
    """Let messages go out that a program handed over just before its end."""
    for kit in list(_kits):
        if kit._outgoing is not None and kit._client is not None:
            kit._outgoing.flush(1.0 if kit._stored else 5.0)
