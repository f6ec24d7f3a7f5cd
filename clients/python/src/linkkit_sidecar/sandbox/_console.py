"""The platform's console, typed."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from linkkit_sidecar import _convert, models
from linkkit_sidecar._rpc import Target, to_error
from linkkit_sidecar.models import Device

from . import models as platform
from .v1 import sandbox_pb2, sandbox_pb2_grpc

C = TypeVar("C", bound="Console")


class Console:
    """What an operator can do on a platform, and more: make products and devices, disturb devices, see what they sent, inject faults.

    Safe to use from several threads. Errors are `SidecarError` and its kinds: `NotFoundError` for a product or device that does not exist,
    `ConflictError` for one that does, `InvalidRequestError` for a value that the platform would not take, `SidecarUnavailableError`
    when nobody answers.

    Args:
        address: Where SandboxService listens: ``unix:///PATH`` or ``HOST:PORT``. ``linkkit-sidecar dev`` tells it too.
        timeout: Seconds for each call. Default 10.
    """

    def __init__(self, address: str, *, timeout: float = 10.0) -> None:
        target = Target(address, ca_file=None, cert_file=None, key_file=None, token_file=None)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(target.address, target.options)
        self._stub = sandbox_pb2_grpc.SandboxServiceStub(self._channel)
        self._names = 0
        self._names_lock = threading.Lock()

    # Products and devices.

    def create_product(self, product_key: str = "", *, product_secret: str = "", dynamic_registration: bool = True) -> platform.Product:
        """Make a product.

        Args:
            product_key: Its key, 1 to 20 letters and digits. Empty: one is made up.
            product_secret: Its secret, 1 to 64 characters. Empty: one is made up.
            dynamic_registration: Whether its devices may register dynamically. On the platform the switch is off at first.

        Raises:
            ConflictError: There is such a product.
        """
        request = sandbox_pb2.CreateProductRequest(product_key=product_key, product_secret=product_secret, dynamic_registration=dynamic_registration)
        return _convert.from_proto(platform.Product, self._call(self._stub.CreateProduct, request))

    def create_device(self, device: Device, *, device_secret: str = "", generate_secret: bool = True) -> platform.CreatedDevice:
        """Make a device of an existing product.

        Args:
            device: The device.
            device_secret: Its secret, 1 to 64 characters.
            generate_secret: Make up a secret when none is given. False: it has none until it registers.

        Raises:
            ConflictError: There is such a device.
            NotFoundError: There is no such product.
        """
        request = sandbox_pb2.CreateDeviceRequest(device=_named(device), device_secret=device_secret, generate_secret=generate_secret)
        made = self._call(self._stub.CreateDevice, request)
        secret = models.DeviceSecret(made.device_secret) if made.device_secret else None
        return platform.CreatedDevice(_convert.from_proto(Device, made.device), secret)

    def list_devices(self, product_key: str = "", *, reveal_secrets: bool = False) -> tuple[platform.PlatformDevice, ...]:
        """Return all devices, in the order of product key and device name.

        Args:
            product_key: Only those of this product. Empty: all.
            reveal_secrets: Tell secrets and tokens too.
        """
        request = sandbox_pb2.ListDevicesRequest(product_key=product_key, reveal_secrets=reveal_secrets)
        return tuple(_convert.from_proto(platform.PlatformDevice, one) for one in self._call(self._stub.ListDevices, request).devices)

    def delete_device(self, device: Device) -> None:
        """Close a device's link and forget the device; its logins are then refused with CONNACK 4."""
        self._call(self._stub.DeleteDevice, sandbox_pb2.DeleteDeviceRequest(device=_named(device)))

    def reset_device(self, device: Device) -> None:
        """Close a device's link and forget its activation, its secret and its tokens, so that it can register again."""
        self._call(self._stub.ResetDevice, sandbox_pb2.ResetDeviceRequest(device=_named(device)))

    # What happens to a device.

    def kick_device(self, device: Device) -> bool:
        """Close a device's link, as a second login of the same device would. Tells whether there was one."""
        return bool(self._call(self._stub.KickDevice, sandbox_pb2.KickDeviceRequest(device=_named(device))).was_online)

    def disable_device(self, device: Device) -> None:
        """Close a device's link and refuse its logins with CONNACK 5 until it is enabled. Not an error when it is disabled."""
        self._call(self._stub.DisableDevice, sandbox_pb2.DisableDeviceRequest(device=_named(device)))

    def enable_device(self, device: Device) -> None:
        """Let a disabled device log in again. Not an error when it is enabled."""
        self._call(self._stub.EnableDevice, sandbox_pb2.EnableDeviceRequest(device=_named(device)))

    # Messages.

    def publish_downstream(self, device: Device, topic: str, payload: bytes | str, *, qos: int = 1) -> platform.Downstream:
        """Send a message to a device, and tell what became of it.

        Args:
            device: The device.
            topic: The topic, at most 128 bytes and 7 slashes, without wildcards, and the device's own: `Device.topic`.
            payload: At most 256 KiB; a str is sent as UTF-8.
            qos: 0 or 1. It is delivered with this, whatever QoS the device subscribed with.

        Raises:
            LimitError: 10,000 messages, or 64 MiB, wait for the device.
        """
        request = sandbox_pb2.PublishDownstreamRequest(device=_named(device), topic=topic, payload=_bytes(payload), qos=qos)
        return platform.Downstream(self._call(self._stub.PublishDownstream, request).delivery)

    def call_device(self, device: Device, payload: bytes | str = b"", *, topic: str = "", timeout: float = 5.0) -> platform.CallResult:
        """Call a device and wait for its answer: an RRPC. The request has QoS 0.

        Args:
            device: The device.
            payload: At most 256 KiB; a str is sent as UTF-8.
            topic: A custom topic, beginning with ``/``, at most 128 bytes, without wildcards. Empty: the system's.
            timeout: Seconds to wait for the answer, more than 0 and at most 8.
        """
        wait = Duration()
        wait.FromNanoseconds(round(timeout * 1e9))
        request = sandbox_pb2.CallDeviceRequest(device=_named(device), payload=_bytes(payload), topic=topic, timeout=wait)
        return _convert.from_proto(platform.CallResult, self._call(self._stub.CallDevice, request, timeout))

    def list_messages(self, device: Device, *, topic_filter: str = "", limit: int = 0, after_number: int = 0) -> tuple[platform.PublishedMessage, ...]:
        """Return what a device published, oldest first. The newest 1000 messages of each device are kept.

        Args:
            device: The device.
            topic_filter: Only messages whose topic matches, with MQTT's wildcards. Empty: on any topic.
            limit: Only this many of the newest of them; 0: all.
            after_number: Only messages with a greater `PublishedMessage.number`.
        """
        request = sandbox_pb2.ListMessagesRequest(device=_named(device), limit=limit, topic_filter=topic_filter, after_number=after_number)
        found: list[platform.PublishedMessage] = []
        while True:
            page = self._call(self._stub.ListMessages, request)
            found += (_convert.from_proto(platform.PublishedMessage, one) for one in page.messages)
            if not page.more:
                return tuple(found)
            request.after_number = found[-1].number

    def list_logins(self, device: Device | None = None) -> tuple[platform.Login, ...]:
        """Return every MQTT CONNECT that was attempted, oldest first. The last 200 of each device are kept.

        Args:
            device: The device, which need not exist. None: those of all devices, and those that named none.
        """
        answer = self._call(self._stub.ListLogins, sandbox_pb2.ListLoginsRequest(device=_named(device)))
        return tuple(
            _convert.from_proto(platform.Login, one, connack_code=one.connack_code if one.HasField("connack_code") else None) for one in answer.logins
        )

    # Faults.

    def set_fault(self, fault: platform.Fault) -> None:
        """Make coming connections misbehave; open links are not touched: kick them. It takes the place of one of the same kind and device."""
        effect: dict[str, Any] = fault.effects()
        if "delay" in effect:
            wait = Duration()
            wait.FromNanoseconds(round(effect["delay"] * 1e9))
            effect = {"delay": wait}
        proto = sandbox_pb2.Fault(device=_named(fault.device), connections=fault.connections, **effect)
        self._call(self._stub.SetFault, sandbox_pb2.SetFaultRequest(fault=proto))

    def clear_faults(self, device: Device | None = None) -> int:
        """Take faults away; links that one of them already acts on keep it until they close.

        Args:
            device: Only those that were set for this device. None: all.

        Returns:
            How many there were.
        """
        return int(self._call(self._stub.ClearFaults, sandbox_pb2.ClearFaultsRequest(device=_named(device))).cleared)

    def list_faults(self) -> tuple[platform.Fault, ...]:
        """Return the faults that are set; `Fault.connections` counts how many are left to come."""
        return tuple(_fault(one) for one in self._call(self._stub.ListFaults, sandbox_pb2.ListFaultsRequest()).faults)

    # Its end.

    def close(self) -> None:
        """Close the connection to the console."""
        self._channel.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, rpc: Any, request: Any, longer: float = 0.0) -> Any:
        try:
            return rpc(request, timeout=self._timeout + longer, wait_for_ready=True)
        except grpc.RpcError as error:
            raise to_error(error) from None


def _named(device: Device | None) -> sandbox_pb2.Device | None:
    return None if device is None else sandbox_pb2.Device(product_key=device.product_key, device_name=device.device_name)


def _bytes(payload: bytes | str) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


def _fault(proto: sandbox_pb2.Fault) -> platform.Fault:
    device = _convert.from_proto(Device, proto.device) if proto.HasField("device") else None
    effect = proto.WhichOneof("effect")
    if effect is None:
        raise ValueError("the sandbox has a fault that this client does not know")
    value: Any = getattr(proto, effect)
    if isinstance(value, Duration):
        value = value.ToNanoseconds() / 1e9
    return platform.Fault(device=device, connections=proto.connections, **{effect: value})
