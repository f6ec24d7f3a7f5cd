"""The vendor's class, with the sidecar beneath."""

from __future__ import annotations

from typing import Any

from linkkit_sidecar.models import Device

from ._callbacks import Callback
from ._filters import valid
from ._interfaces import MAX_LENGTH, parse
from ._kit import Kit
from ._login import METHODS, Login
from ._options import MqttOptions, Place
from ._outgoing import MAX_PAYLOAD, to_bytes
from ._to_come import ToCome
from ._values import ErrorCode as _ErrorCode
from ._values import LinkKitState as _LinkKitState
from ._values import Shadow as _Shadow
from ._values import StateError as _StateError

__all__ = ["LinkKit"]

_CONNECTED = _LinkKitState.CONNECTED
_DISCONNECTED = _ErrorCode.NETWORK_DISCONNECTED.value
_BAD_TOPIC = _ErrorCode.INVALID_TOPIC.value
_BAD_QOS = _ErrorCode.INVALID_QOS.value
_NOT_TAKEN = _ErrorCode.PAHO_MQTT_ERROR.value
_NO_CONNECTION = 4  # what the vendor's MQTT library calls it
_MAX_TOPIC = 128

Result = tuple[int, "int | None"]


class LinkKit(Kit, ToCome):
    """A device of the platform, in the vendor's words. The sidecar keeps it online.

    Give a device secret, or a ready-made MQTT login (client_id, username and password), or a product secret to register with; the first of
    these that is given counts. Callbacks are called one after the other, on one thread.

    Args:
        host_name: A region, such as ``cn-shanghai``; or ``localhost`` or ``127.0.0.1``.
        product_key: The product's key.
        device_name: The device's name.
        device_secret: The device's secret; "" or None when it is not known.
        auth_type: How to register: ``register`` for a device that was created beforehand, ``regnwl`` for one that was not, "" or None over
            HTTPS as older programs do.
        username: MQTT's user name.
        client_id: MQTT's client id, whole.
        password: MQTT's password.
        instance_id: The id of a new public or enterprise instance.
        product_secret: The product's secret.
        user_data: What callbacks are given.

    Raises:
        ValueError: A name is missing, or all that the device could prove itself with.
    """

    TAG_KEY = "attrKey"
    TAG_VALUE = "attrValue"

    LinkKitState = _LinkKitState
    ErrorCode = _ErrorCode
    StateError = _StateError
    Shadow = _Shadow

    on_connect = Callback("session_flag, rc, user_data", "when the device is online (rc 0), or an attempt failed: the CONNACK code, 9 or 6, 7.")
    on_disconnect = Callback("rc, user_data", "when the link has ended: 0 on the program's own wish, 1 by force_reconnect, 7 or 16 when it was lost.")
    on_publish_topic = Callback("mid, user_data", "when the platform has a message, or one of QoS 0 was sent.")
    on_subscribe_topic = Callback("mid, granted_qos, user_data", "when the platform has answered: a QoS for each topic, 128 for a refused one.")
    on_unsubscribe_topic = Callback("mid, user_data", "when nothing comes on the topics any more.")
    on_topic_message = Callback("topic, payload, qos, user_data", "for each message that no other callback has dealt with.")
    on_topic_rrpc_message = Callback("rrpc_id, topic, payload, qos, user_data", "for each call on a subscribed topic; answer by thing_answer_rrpc.")
    on_device_dynamic_register = Callback("rc, value, user_data", "with the device's secret (rc 0), or when the device was not registered.")
    on_device_dynamic_register_nwl_reply = Callback("rc, client_id, username, password", "with a ready-made login (rc 0), or when there is none.")
    on_thing_enable = Callback("user_data", "when the device is online, after thing_setup.")
    on_thing_disable = Callback("user_data", "when it is not online any more.")
    on_thing_raw_data_arrived = Callback("payload, user_data", "with raw data from the platform.")
    on_thing_raw_data_post = Callback("payload, user_data", "with the platform's answer to thing_raw_post_data.")
    on_thing_create = Callback("user_data", "never, as in the vendor's class.")
    on_file_upload_begin = Callback("id, upload_file_info, user_data", "never: the vendor's class has given up uploads.")
    on_file_upload_end = Callback("id, upload_file_info, upload_file_result, user_data", "never: the vendor's class has given up uploads.")

    def __init__(
        self,
        host_name: str,
        product_key: str,
        device_name: str,
        device_secret: str | None,
        auth_type: str | None = None,
        username: str | None = None,
        client_id: str | None = None,
        password: str | None = None,
        instance_id: str | None = None,
        product_secret: str | None = None,
        user_data: Any = None,
    ) -> None:
        for value, name in ((host_name, "host_name"), (product_key, "product_key"), (device_name, "device_name")):
            if not value:
                raise ValueError(f"{name} is missing")
        login = Login(Device(product_key, device_name), device_secret, auth_type, username, client_id, password, product_secret)
        if login.registers and not product_secret:
            raise ValueError("give device_secret, or product_secret, or username, client_id and password")
        super().__init__(login, Place(host_name, product_key, instance_id), user_data)

    # Configuration.

    def enable_logger(self, level: int) -> None:
        """Log to the logger named ``linkkit`` from this level on. What is wrong is logged in any case."""
        self._log.level(level)
        self._log.enabled = True

    def disable_logger(self) -> None:
        """Log only what is wrong."""
        self._log.enabled = False

    def config_logger(self, level: int) -> None:
        """Set the level of the logger named ``linkkit``."""
        self._log.level(level)

    def config_mqtt(
        self,
        port: int = 8883,
        protocol: str = "MQTTv311",
        transport: str = "TCP",
        secure: str = "TLS",
        keep_alive: int = 60,
        clean_session: bool = True,
        max_inflight_message: int = 20,
        max_queued_message: int = 40,
        auto_reconnect_min_sec: int = 1,
        auto_reconnect_max_sec: int = 60,
        cadata: str | None = None,
        endpoint: str | None = None,
        check_hostname: bool = True,
    ) -> None:
        """Set how the device is connected. What is not given becomes the default, except cadata and endpoint.

        Args:
            port: 1 to 65535.
            protocol: ``MQTTv311`` or ``MQTTv31``.
            transport: ``TCP``.
            secure: ``TLS``, or "" for plain TCP.
            keep_alive: 30 to 1200 seconds.
            clean_session: Start without the session that the platform kept.
            max_inflight_message: Messages of QoS 1 under way at once; 0 is 65535.
            max_queued_message: Messages of QoS 1 without acknowledgement; beyond them publish_topic returns -4. 0 is without a bound, and
                so is it when messages are stored.
            auto_reconnect_min_sec: The shortest wait between attempts, 1 to 7200 seconds.
            auto_reconnect_max_sec: The longest.
            cadata: PEM certificates to trust, beside the platform's roots.
            endpoint: The host to dial, instead of the one that host_name and instance_id mean.
            check_hostname: Verify that the server's certificate is for the host.

        Raises:
            StateError: It is too late: connect_async was called.
            ValueError: A value is out of range.
        """
        if self._state is not _LinkKitState.INITIALIZED:
            raise _StateError("config_mqtt comes before connect_async")
        options = MqttOptions(
            port,
            protocol,
            transport,
            secure,
            keep_alive,
            clean_session,
            max_inflight_message,
            max_queued_message,
            auto_reconnect_min_sec,
            auto_reconnect_max_sec,
        )
        options.check()
        self._options = options
        if cadata is not None:
            self._place.cadata = cadata
        if endpoint is not None:
            self._place.endpoint = endpoint
        if check_hostname is not None:
            self._place.check_hostname = check_hostname

    def config_device_info(self, interface_info: str) -> int:
        """Set the network interfaces that the console shows, such as ``WiFi|03ACDEFF0032``.

        Returns:
            0, or 1 when it has more than 160 characters.

        Raises:
            StateError: It is too late: connect_async was called.
            ValueError: It is not a string, or not of the platform's form.
        """
        if self._state is not _LinkKitState.INITIALIZED:
            raise _StateError("config_device_info comes before connect_async")
        if not isinstance(interface_info, str):
            raise ValueError("interface info must be a string")
        if len(interface_info) > MAX_LENGTH:
            return 1
        self._interfaces = parse(interface_info)
        return 0

    def thing_setup(self, file: str | None = None) -> int:
        """Use the thing model with raw data.

        Returns:
            0, or 1 when it was set up already.

        Raises:
            StateError: It is too late, or a file of a thing model is given: linkkit-sidecar does not read one yet.
        """
        if self._state is not _LinkKitState.INITIALIZED:
            raise _StateError("thing_setup comes before connect_async")
        if self._set_up:
            return 1
        if file is not None:
            raise _StateError(
                "a thing model from a file is not there yet. Meanwhile leave the file out, publish to /sys/PRODUCT_KEY/DEVICE_NAME/thing/… "
                "with publish_topic, and take requests and replies from on_topic_message"
            )
        self._set_up = True
        return 0

    # What there is.

    def check_state(self) -> _LinkKitState:
        """Where the object stands."""
        return self._state

    def get_product(self) -> str:
        """The product's key."""
        return self._device.product_key

    def get_device_name(self) -> str:
        """The device's name."""
        return self._device.device_name

    def get_endpoint(self) -> str | None:
        """The endpoint that config_mqtt was given; None when it was given none."""
        return self._place.endpoint

    def get_actual_endpoint(self) -> str:
        """The host that the device is connected to."""
        return self._place.host()

    def dump_user_topics(self) -> dict[str, int]:
        """The topics that are subscribed to, with their QoS."""
        return self._topics

    @staticmethod
    def to_user_topic(topic: str) -> str:
        """The end of a custom topic: what stands behind product key and device name."""
        return topic.split("/", 3)[3]

    def to_full_topic(self, topic: str) -> str:
        """The device's topic with the given end."""
        return f"/{self._device.product_key}/{self._device.device_name}/{topic}"

    # The link.

    def connect_async(self) -> int:
        """Begin to connect, and return at once. What becomes of it comes to on_connect, or to the callbacks of a registration.

        Returns:
            0, or 1 when it is being connected already.

        Raises:
            StateError: It is connected or at its end, or auth_type names no way to register.
        """
        if self._state not in (_LinkKitState.INITIALIZED, _LinkKitState.DISCONNECTED):
            raise _StateError("connect_async is for an object that is new or disconnected")
        if self._login.registers and self._login.method is None:
            raise _StateError(f"auth_type {self._login.auth_type!r} names no way to register: give one of {', '.join(map(repr, METHODS))}")
        session = self._session
        if session is not None and not session.over.is_set():
            if not session.released:
                return 1
            session.again()
            return 0
        self._begin()
        return 0

    def connect(self) -> Any:
        """Not supported, as in the vendor's class: use connect_async."""
        raise _StateError("not supported: use connect_async")

    def disconnect(self) -> None:
        """End the link, after what is under way, and wait for that. Nothing happens when the device is not connected."""
        if self._state is not _CONNECTED:
            self._log.info("disconnect: not connected")
            return
        self._move(_LinkKitState.DISCONNECTING)
        self._end()
        self._move(_LinkKitState.DISCONNECTED)

    def destruct(self) -> None:
        """End the link, if there is one, and the object: all threads of it end. Inside a callback, that one after it has returned."""
        with self._lock:
            if self._state in (_LinkKitState.DESTRUCTING, _LinkKitState.DESTRUCTED):
                return
            self._state = _LinkKitState.DESTRUCTING
        self._end()
        self._close()
        with self._lock:
            self._state = _LinkKitState.DESTRUCTED

    def destroy(self) -> None:
        """The same as destruct."""
        self.destruct()

    def force_reconnect(self) -> None:
        """Close the link and make it anew."""
        if self._session is not None:
            self._session.reconnect()

    def start_worker_loop(self) -> None:
        """Do nothing, as in the vendor's class."""

    # Messages.

    def publish_topic(self, topic: str, payload: Any = None, qos: int = 1) -> Result:
        """Publish a message, without waiting. When the platform has it, on_publish_topic is called with its number.

        Args:
            topic: The topic, at most 128 bytes, without wildcards.
            payload: bytes, str, a number, or None; at most 256 KiB.
            qos: 0 or 1.

        Returns:
            (0, number); or (-1, None) when the device is not connected, (-2, None) without a topic, (-3, None) for another QoS, (-4, None) when
            max_queued_message are without acknowledgement, or the payload is too long.

        Raises:
            ValueError: The topic is too long or has wildcards.
            TypeError: The payload is of another type.
        """
        outgoing = self._outgoing
        if outgoing is None or (self._state is not _CONNECTED and not self._may_store()):
            self._log.info("publish_topic: not connected")
            return _DISCONNECTED, None
        if not topic:
            return _BAD_TOPIC, None
        if qos != 0 and qos != 1:
            return _BAD_QOS, None
        if len(topic) > _MAX_TOPIC:
            raise ValueError(f"the topic has {len(topic)} characters; the platform takes {_MAX_TOPIC}")
        if "+" in topic or "#" in topic:
            raise ValueError("a topic to publish to has no wildcards")
        data = payload if type(payload) is bytes else to_bytes(payload)
        if len(data) > MAX_PAYLOAD:
            self._log.error("a message to %s was not taken: it has %d bytes, the platform takes %d", topic, len(data), MAX_PAYLOAD)
            return _NOT_TAKEN, None
        number = outgoing.publish(topic, data, qos)
        return (0, number) if number is not None else (_NOT_TAKEN, None)

    def _may_store(self) -> bool:
        """Whether a message is taken although the device is not connected."""
        return self._stored and self._state not in (_LinkKitState.DESTRUCTING, _LinkKitState.DESTRUCTED)

    def subscribe_topic(self, topic: Any, qos: int = 1) -> Result:
        """Subscribe, without waiting; on_subscribe_topic is called with the platform's answer. It lasts over losses of the link.

        Args:
            topic: A topic filter, at most 128 bytes; or one with its QoS; or a list of such pairs.
            qos: 0 or 1, for a single filter.

        Returns:
            (0, number); or (1, None) when it is subscribed to already, (-1, None) when the device is not connected, (-2, None) without a topic,
            (-3, None) for another QoS.

        Raises:
            ValueError: A filter is too long, or its wildcards stand where they may not.
        """
        if self._state is not _CONNECTED:
            self._log.info("subscribe_topic: not connected")
            return _DISCONNECTED, None
        if isinstance(topic, tuple):
            topic, qos = topic
        single = isinstance(topic, str)
        if not single and not isinstance(topic, list):
            return _BAD_TOPIC, None
        pairs = [(topic, qos)] if single else topic
        for name, wanted_qos in pairs:
            if not 0 <= wanted_qos <= 1:
                return _BAD_QOS, None
            if not isinstance(name, str) or not name:
                return _BAD_TOPIC, None
            _check_filter(name)
        if single and topic in self._topics and topic in self._fresh:
            return 1, None
        if not pairs:
            raise ValueError("a list of topics is empty")
        return 0, self._subscribe([(name, name, wanted_qos) for name, wanted_qos in pairs], self._topics, "on_subscribe_topic")

    def unsubscribe_topic(self, topic: Any) -> Result:
        """End subscriptions, without waiting; on_unsubscribe_topic is called when it is done.

        Args:
            topic: A topic filter, or a list of them.

        Returns:
            (0, number); or (1, None) when it is not subscribed to, (2, None) when none of the list is, (-1, None) when the device is not
            connected, (-2, None) without a topic.

        Raises:
            ValueError: A filter is too long or empty.
        """
        if self._state is not _CONNECTED:
            self._log.info("unsubscribe_topic: not connected")
            return _DISCONNECTED, None
        if topic is None or topic == "":
            return _BAD_TOPIC, None
        names = _checked(topic)
        if isinstance(topic, str) and topic not in self._topics:
            return 1, None
        names = [name for name in names if name in self._topics]
        if not names:
            return 2, None

        def done(number: int) -> None:
            for name in names:
                self._topics.pop(name, None)
            self._tell("on_unsubscribe_topic", number, self._user_data)

        return 0, self._unsubscribe(names, done)

    # Calls from the platform (RRPC).

    def subscribe_rrpc_topic(self, topic: Any) -> Result:
        """Take calls on a topic, which come to on_topic_rrpc_message.

        Args:
            topic: What stands behind ``/ext/rrpc/ID`` in a call's topic; or a list of such.

        Returns:
            (0, number); or (1, None) when it is subscribed to already, (-1, None) when the device is not connected, (-2, None) without a topic.

        Raises:
            ValueError: A topic is too long.
        """
        if self._state is not _CONNECTED:
            self._log.info("subscribe_rrpc_topic: not connected")
            return _DISCONNECTED, None
        if not isinstance(topic, (str, list)) or not topic:
            return _BAD_TOPIC, None
        for name in [topic] if isinstance(topic, str) else topic:
            if not isinstance(name, str) or not name.strip():
                return _BAD_TOPIC, None
        names = [_with_slash(name) for name in _checked(topic)]
        if isinstance(topic, str) and names[0] in self._rrpc_topics and names[0] in self._fresh:
            return 1, None
        for name in names:  # at once, as in the vendor's class: a call may come before the platform's answer is dealt with
            self._rrpc_topics[name] = 0
            self._fresh.add(name)
        return 0, self._subscribe([(f"/ext/rrpc/+{name}", name, 0) for name in names], self._rrpc_topics, None)

    def unsubscribe_rrpc_topic(self, topic: Any) -> Result:
        """Take no more calls on a topic.

        Args:
            topic: As in subscribe_rrpc_topic.

        Returns:
            (0, number); or (1, None) when it is not subscribed to, (2, None) when none of the list is, (-1, None) when the device is not
            connected, (-2, None) without a topic.

        Raises:
            ValueError: A topic is too long or empty.
        """
        if self._state is not _CONNECTED:
            self._log.info("unsubscribe_rrpc_topic: not connected")
            return _DISCONNECTED, None
        if topic is None or topic == "":
            return _BAD_TOPIC, None
        names = [_with_slash(name) for name in _checked(topic)]
        if isinstance(topic, str) and names[0] not in self._rrpc_topics:
            return 1, None
        names = [name for name in names if name in self._rrpc_topics]
        if not names:
            return 2, None
        for name in names:
            del self._rrpc_topics[name]
        return 0, self._unsubscribe([f"/ext/rrpc/+{name}" for name in names], lambda number: None)

    def thing_answer_rrpc(self, id: str, response: Any) -> Result:
        """Answer a call. The platform waits 8 seconds for it at most; on_publish_topic is called when the answer was sent.

        Args:
            id: The call's id, as on_topic_rrpc_message was given it. The newest 100 without an answer are known.
            response: The answer: as the payload of publish_topic.

        Returns:
            (0, number); (1, None) for an unknown call; (4, number) when the device is not connected.
        """
        topic = self._calls.pop(id, None)
        if topic is None or self._outgoing is None:
            self._log.error("thing_answer_rrpc: no call has the id %s, or it was answered", id)
            return 1, None
        if self._state is not _CONNECTED:
            return _NO_CONNECTION, self._outgoing.number()
        return 0, self._outgoing.publish(topic, to_bytes(response), 0, now=True)

    # Raw data.

    def thing_raw_post_data(self, payload: Any) -> int:
        """Send raw data. The platform's answer comes to on_thing_raw_data_post.

        Returns:
            0, or 1 when it was not taken, or -1 when the device is not connected.
        """
        return self._post_raw("up_raw", payload)

    def thing_raw_data_reply(self, payload: Any) -> int:
        """Answer raw data of the platform's.

        Returns:
            0, or 1 when it was not taken, or -1 when the device is not connected.
        """
        return self._post_raw("down_raw_reply", payload)

    def _post_raw(self, end: str, payload: Any) -> int:
        if self._outgoing is None or self._state is not _CONNECTED:
            self._log.info("raw data: not connected")
            return _DISCONNECTED
        topic = f"/sys/{self._device.product_key}/{self._device.device_name}/thing/model/{end}"
        data = to_bytes(payload)
        return 0 if len(data) <= MAX_PAYLOAD and self._outgoing.publish(topic, data, 0, told=False, now=True) is not None else 1

    # What the vendor's class has given up.

    def config_http2(self, endpoint: Any = None) -> Any:
        """Not supported, as in the vendor's class."""
        raise _StateError("the vendor has given this up, and so it is not supported")

    def get_h2_endpoint(self) -> Any:
        """Not supported, as in the vendor's class."""
        raise _StateError("the vendor has given this up, and so it is not supported")

    def get_actual_h2_endpoint(self) -> Any:
        """Not supported, as in the vendor's class."""
        raise _StateError("the vendor has given this up, and so it is not supported")

    def upload_file_sync(self, local_filename: Any, remote_filename: Any = None, over_write: bool = True, timeout: Any = None) -> Any:
        """Not supported, as in the vendor's class."""
        raise _StateError("the vendor has given this up, and so it is not supported")

    def upload_file_async(self, local_filename: Any, remote_filename: Any = None, over_write: bool = True) -> Any:
        """Not supported, as in the vendor's class."""
        raise _StateError("the vendor has given this up, and so it is not supported")


def _check_filter(name: str) -> None:
    if not name or len(name) > _MAX_TOPIC:
        raise ValueError(f"a topic filter has {len(name)} characters; the platform takes 1 to {_MAX_TOPIC}")
    if not valid(name):
        raise ValueError(f"{name!r} is not a topic filter: '+' stands alone between slashes, '#' behind the last")


def _checked(topic: str | list[str]) -> list[str]:
    names = [topic] if isinstance(topic, str) else list(topic)
    for name in names:
        _check_filter(name)
    return names


def _with_slash(topic: str) -> str:
    topic = topic.strip()
    return topic if topic.startswith("/") else f"/{topic}"
