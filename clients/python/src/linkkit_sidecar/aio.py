"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from . import _convert, errors, events, models
from ._aio_publish import Publisher
from ._aio_streams import EventStream, MessageStream, being_cancelled
from ._aio_work import CallHandler, Consumer
from ._feeds import EventFeed, MessageFeed, Persistence
from ._rpc import Deadline, Origin, Target, may_repeat, to_error
from .v1 import connectivity_pb2, connectivity_pb2_grpc, device_pb2, messaging_pb2, messaging_pb2_grpc

__all__ = ["CallHandler", "Consumer", "EventStream", "MessageStream", "Publisher", "SidecarClient"]

T = TypeVar("T")


class SidecarClient:
    """A client of linkkit-sidecar for asyncio. `linkkit_sidecar.SidecarClient` is its twin that blocks.

    It belongs to the event loop in which it is first used. Close it, or use it as an async context manager: then no task of it is left.
    After a fork the child's copy raises `ForkedError`; make a new client there, or better, start children with multiprocessing's ``spawn``:
    gRPC's own threads do not survive a fork.

    Every call waits for a sidecar that is not there yet, or is starting again, `start_timeout` seconds. Every call takes `timeout`, in
    seconds, in which it is over, that wait included; None is the client's. Errors are `SidecarError` and its kinds.

    Args:
        address: ``unix:///PATH`` or ``HOST:PORT``. Default: the environment variable LINKKIT_SIDECAR_ADDRESS, or
            ``unix:///run/linkkit-sidecar/sidecar.sock``.
        device: The device that calls mean which name none. None: the only one that the sidecar knows.
        timeout: Seconds for a call that is given none. Default 30.
        start_timeout: Seconds to wait for a sidecar that does not listen. Default 10; 0 does not wait.
        resume_timeout: Seconds that streams try to come back when the sidecar is gone; None is for ever. Default 60.
        ca_file: TCP: PEM certificates to verify the sidecar by.
        cert_file: TCP: this program's certificate, PEM.
        key_file: TCP: its key, PEM.
        token_file: TCP: a file with the token that the sidecar asks for.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        device: models.Device | None = None,
        timeout: float = 30.0,
        start_timeout: float = 10.0,
        resume_timeout: float | None = 60.0,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        token_file: str | None = None,
    ) -> None:
        self._target = Target(address, ca_file=ca_file, cert_file=cert_file, key_file=key_file, token_file=token_file)
        _convert.device(device)  # tells at once what is none
        self._default = device
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._resume_timeout = resume_timeout
        self._closed = False
        self._origin = Origin()
        self._opened: set[Any] = set()  # streams and workers to close with the client
        self._left = False  # some of them run on after close
        self._stubs: _Stubs | None = None  # made in the loop that uses them

    @property
    def address(self) -> str:
        """Where the sidecar is."""
        return self._target.address

    # Connectivity.

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until a sidecar listens at the address. Calls do so by themselves.

        Args:
            timeout: Seconds to wait; None is the client's `start_timeout`.

        Raises:
            SidecarUnavailableError: None did in time.
        """
        await self._wait_ready(self._start_timeout if timeout is None else timeout)

    async def register(
        self,
        device: models.Device,
        *,
        product_secret: str,
        method: models.RegistrationMethod = models.RegistrationMethod.PRE_REGISTERED,
        endpoint: models.Endpoint | None = None,
        dial_address: str = "",
        tls: models.TlsSettings | None = None,
        sign_method: models.SignMethod | None = None,
        replace: bool = False,
        reveal_credential: bool = False,
        timeout: float | None = None,
    ) -> models.Registration:
        """Obtain the device's credential by dynamic registration (one product, one secret). The sidecar stores it before this returns.

        Args:
            device: The device.
            product_secret: The product's secret, 1 to 64 characters. It is not stored.
            method: The way to register.
            endpoint: Where. None: region cn-shanghai.
            dial_address: Dial this address, ``IP`` or ``IP:PORT``; TLS still verifies the host's name.
            tls: Whom to trust. Plain TCP is refused: the platform registers over TLS only.
            sign_method: The HMAC to sign with. None: HMAC-SHA256.
            replace: Register again although a credential is stored.
            reveal_credential: Give the credential itself back too.
            timeout: Seconds. A registration that has begun goes on when they have passed.

        Raises:
            ConflictError: A credential is stored, or another registration of the device is under way.
            RefusedError: The platform refused: wrong product secret, activated already, not created, switched off.
            PlatformUnreachableError: The platform was not reached or did not answer.
            UntrustedError: The server did not prove who it is.
            StorageError: The sidecar could not store a credential.
        """
        request = connectivity_pb2.RegisterRequest(
            device=_convert.device(device),
            method=int(method),  # type: ignore[arg-type]  # the same numbers
            product_secret=product_secret,
            replace=replace,
            reveal_credential=reveal_credential,
            **_convert.where(endpoint, dial_address, tls, sign_method),
        )
        return _convert.registration(await self._call(self._rpc.connectivity.Register, request, timeout))

    async def connect(
        self,
        device: models.Device | None = None,
        *,
        credential: models.Credential | None = None,
        endpoint: models.Endpoint | None = None,
        dial_address: str = "",
        tls: models.TlsSettings | None = None,
        mqtt: models.MqttSettings | None = None,
        reconnect: models.ReconnectSettings | None = None,
        sign_method: models.SignMethod | None = None,
        network_interfaces: Sequence[models.NetworkInterface] = (),
        wait: models.ConnectWait = models.ConnectWait.OUTCOME,
        replace: bool = False,
        timeout: float | None = None,
    ) -> models.DeviceStatus:
        """Make the sidecar keep the device online, over losses and restarts, until disconnect().

        Args:
            device: The device; None is the client's.
            credential: What it proves itself with. None: the stored one.
            endpoint: Where. None: region cn-shanghai.
            dial_address: Dial this address, ``IP`` or ``IP:PORT``; TLS still verifies the host's name.
            tls: Whom to trust.
            mqtt: MQTT's settings.
            reconnect: The waits between attempts.
            sign_method: The HMAC to sign logins with. None: HMAC-SHA256.
            network_interfaces: Interfaces to show on the platform's console, 8 at most.
            wait: What to wait for.
            replace: Take these settings although the device is wanted with others.
            timeout: Seconds to wait for the outcome. `wait` says whether the sidecar goes on when they have passed.

        Returns:
            The device's status: online, unless `wait` is NONE.

        Raises:
            RefusedError: The platform refused the device.
            CredentialError: There is no credential.
            ConflictError: The device is wanted with other settings, or another call ended what this one waited for.
            PlatformUnreachableError: The attempt failed; the sidecar goes on trying.
            UntrustedError: The server did not prove who it is.
            DeadlineExceededError: There was no outcome in time.
        """
        request = _convert.connect_request(
            device=self._device(device),
            credential=_convert.credential(credential),
            where=_convert.where(endpoint, dial_address, tls, sign_method),
            mqtt=mqtt,
            reconnect=reconnect,
            network_interfaces=network_interfaces,
            wait=wait,
            replace=replace,
        )
        return _convert.from_proto(models.DeviceStatus, (await self._call(self._rpc.connectivity.Connect, request, timeout)).status)

    async def disconnect(self, device: models.Device | None = None, *, timeout: float | None = None) -> models.DeviceStatus:
        """End the wish of connect() and close the link. Not an error for a device that is idle.

        Args:
            device: The device; None is the client's.
            timeout: Seconds. The link is closed all the same when they have passed.

        Raises:
            NotFoundError: The sidecar does not know the device.
        """
        request = connectivity_pb2.DisconnectRequest(device=self._device(device))
        return _convert.from_proto(models.DeviceStatus, (await self._call(self._rpc.connectivity.Disconnect, request, timeout)).status)

    async def get_device(self, device: models.Device | None = None, *, timeout: float | None = None) -> models.DeviceStatus:
        """Return all about the device, except its secrets.

        Args:
            device: The device; None is the client's.
            timeout: Seconds.

        Raises:
            NotFoundError: The sidecar does not know the device.
        """
        request = connectivity_pb2.GetDeviceRequest(device=self._device(device))
        return _convert.from_proto(models.DeviceStatus, (await self._call(self._rpc.connectivity.GetDevice, request, timeout, repeat=True)).status)

    async def list_devices(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[models.DeviceStatus]:
        """Iterate over all devices, in the order of product key and device name.

        Args:
            page_size: How many to fetch at once, 1 to 1000; 0 is 1000.
            timeout: Seconds for each page.
        """
        token = ""
        while True:
            request = connectivity_pb2.ListDevicesRequest(page_size=page_size, page_token=token)
            page = await self._call(self._rpc.connectivity.ListDevices, request, timeout, repeat=True)
            for one in page.devices:
                yield _convert.from_proto(models.DeviceStatus, one)
            token = page.next_page_token
            if not token:
                return

    async def forget_device(self, device: models.Device, *, force: bool = False, timeout: float | None = None) -> None:
        """Remove the device's credential, settings, outbox and inboxes. What is forgotten is gone.

        Args:
            device: The device. It cannot be left out.
            force: Disconnect it first if it is wanted online.
            timeout: Seconds.

        Raises:
            ConflictError: It is wanted online, and `force` was not given.
            NotFoundError: The sidecar does not know the device.
        """
        request = connectivity_pb2.ForgetDeviceRequest(device=_convert.device(device), force=force)
        await self._call(self._rpc.connectivity.ForgetDevice, request, timeout)

    def events(
        self,
        devices: Sequence[models.Device] = (),
        *,
        after: models.Cursor | None = None,
        kinds: Sequence[events.EventKind] = (),
    ) -> EventStream:
        """Iterate over events: where things stand, then every change. It is resumed where it broke when the sidecar restarts.

        Args:
            devices: Only these; none given is the client's device, or all when it has none.
            after: Go on after this place (`EventStream.cursor`, kept from an earlier run). None: from now on.
            kinds: Only these kinds. Snapshots and gaps come always.

        Returns:
            An async iterator of `Event` and `Gap`. Close it, or use it as an async context manager.
        """
        chosen = tuple(devices) or ((self._default,) if self._default is not None else ())
        return self._stream(EventStream, "linkkit-sidecar-events", EventFeed(chosen, after, kinds), self._rpc.connectivity.Events)

    # Messaging.

    async def publish(
        self,
        topic: str,
        payload: models.Payload,
        *,
        qos: int = 1,
        assurance: models.Assurance = models.Assurance.CONFIRMED,
        ttl: int = 0,
        priority: int = 0,
        key: str = "",
        traceparent: str = "",
        device: models.Device | None = None,
        timeout: float | None = None,
    ) -> models.Receipt:
        """Publish one message and wait for its receipt. For many, `publisher` is several times faster.

        Args:
            topic: The topic, without wildcards; at most 128 bytes, and the device's own.
            payload: At most 256 KiB; a str is sent as UTF-8.
            qos: 0 or 1. With 0 nothing acknowledges the message: its receipt says SENT.
            assurance: CONFIRMED: the receipt is the platform's acknowledgement. STORED: that it is on disk, online or not.
            ttl: STORED: after how many seconds it expires if it was not sent, at most a year; 0 is the sidecar's default.
            priority: STORED: 0 to 9; those with a higher one are sent first.
            key: STORED: an idempotency key, at most 128 bytes. A message whose key is known is not taken twice.
            traceparent: The trace that the message belongs to, as W3C's header of that name; "" is that of the call, if it has one.
            device: The device; None is the client's.
            timeout: Seconds. When they have passed, the message may be sent all the same.

        Raises:
            NotOnlineError: CONFIRMED: the device is not online; nothing was sent.
            OutcomeUnknownError: The link, or the sidecar, was lost before the answer came.
            LimitError: A queue or the outbox is full; the message was not taken.
            StorageError: STORED: the disk did not take it.
            ConflictError: The key is that of another message.
            InvalidRequestError: The message breaks a rule of the platform.
        """
        request = messaging_pb2.PublishRequest(
            device=self._device(device), message=_convert.outgoing(topic, payload, qos, assurance, ttl, priority, key, traceparent)
        )
        return _convert.receipt(await self._call(self._rpc.messaging.Publish, request, timeout, repeat=bool(key), cut=errors.OutcomeUnknownError))

    def publisher(self, *, device: models.Device | None = None, window: int = 1000) -> Publisher:
        """Publish many messages without waiting for each.

        Args:
            device: The device; None is the client's.
            window: How many messages may have no receipt yet; publish() waits beyond that.

        Returns:
            A publisher. Close it, or use it as an async context manager: it then waits for the receipts that are due.
        """
        return self._begin(
            lambda forget: Publisher(self._device(device), window, self._opener(self._rpc.messaging.PublishStream), self._persist(), forget)
        )

    def messages(self, *filters: str, device: models.Device | None = None, max_waiting: int = 0) -> MessageStream:
        """Subscribe, and iterate over the messages that match. The subscription lasts as long as the stream, over losses of the link.

        Args:
            filters: Topic filters, 1 to 100, with MQTT's wildcards, within the device's own topics.
            device: The device; None is the client's.
            max_waiting: How many messages may wait for this reader, 1 to 100000; 0 is 1024. Beyond that the oldest are dropped: a `Gap`.

        Returns:
            An async iterator of `Message` and `Gap`. Close it, or use it as an async context manager. `MessageStream.wait_granted` waits for
            the platform.
        """
        feed = MessageFeed(self._device(device), filters, max_waiting)
        return self._stream(MessageStream, "linkkit-sidecar-messages", feed, self._rpc.messaging.Subscribe)

    def consume(
        self,
        inbox: str,
        handler: Callable[[models.Delivery], Any],
        *,
        filters: Sequence[str] = (),
        device: models.Device | None = None,
        visibility_timeout: int = 30,
        max_deliveries: int = 0,
        max_unanswered: int = 100,
        replace: bool = False,
        retry_delay: float = 1.0,
        workers: int = 1,
        on_gap: Callable[[models.Gap], Any] | None = None,
    ) -> Consumer:
        """Run a handler for each message of an inbox: a queue on disk that collects what matches its filters, whether an app reads or not.

        What the handler does is the answer: returning None or `Done` settles the message, returning or raising `Retry` makes it come again,
        `Drop` throws it away. Any other exception is logged and means retry, after `retry_delay` seconds, doubled with each delivery.

        Args:
            inbox: The inbox's name, 1 to 64 letters, digits or any of ``-_.``; with ``~dead`` behind it, its dead letters. It is made when
                there is none.
            handler: Called with a `Delivery`: a coroutine function, or a plain one that does not block.
            filters: Topic filters, at most 100. None given: those that the inbox has.
            device: The device; None is the client's.
            visibility_timeout: Seconds until a message without an answer comes again, 1 to 43200. They count from when it arrives here: one
                that has waited so long for a worker is left to come again, so give slow handlers more, or less `max_unanswered`.
            max_deliveries: After how many deliveries a message goes to the dead letters, 1 to 1000; 0 leaves the inbox as it is.
            max_unanswered: How many messages may be delivered without an answer, 1 to 10000.
            replace: Give the inbox these filters when it has others.
            retry_delay: Seconds before a message comes again whose handler failed, 0 or more.
            workers: How many handlers may run at once. With 1 messages are dealt with in their order.
            on_gap: Called when the inbox has dropped messages. They are logged in any case.

        Returns:
            The consumer, which runs. Close it, or use it as an async context manager; `Consumer.wait` waits until it ends.

        Raises:
            TypeError: The handler cannot be called, or the filters are one str.
            ValueError: An argument is out of range.
        """
        open = messaging_pb2.OpenInbox(
            device=self._device(device),
            inbox=inbox,
            filters=_convert.filters(filters),
            visibility_timeout=visibility_timeout,
            max_deliveries=max_deliveries,
            max_unanswered=max_unanswered,
            replace=replace,
        )
        return self._begin(
            lambda forget: Consumer(handler, open, retry_delay, on_gap, workers, self._opener(self._rpc.messaging.Consume), self._persist(), forget)
        )

    async def list_inboxes(self, device: models.Device | None = None, *, timeout: float | None = None) -> tuple[models.Inbox, ...]:
        """Return the device's inboxes, by name.

        Args:
            device: The device; None is the client's.
            timeout: Seconds.
        """
        request = messaging_pb2.ListInboxesRequest(device=self._device(device))
        response = await self._call(self._rpc.messaging.ListInboxes, request, timeout, repeat=True)
        return tuple(_convert.from_proto(models.Inbox, one) for one in response.inboxes)

    async def delete_inbox(self, inbox: str, *, force: bool = False, device: models.Device | None = None, timeout: float | None = None) -> None:
        """Remove an inbox, the messages in it, and its subscription.

        Args:
            inbox: Its name.
            force: Delete it although messages are in it.
            device: The device; None is the client's.
            timeout: Seconds.

        Raises:
            ConflictError: Messages are in it, and `force` was not given.
            NotFoundError: There is no such inbox.
        """
        request = messaging_pb2.DeleteInboxRequest(device=self._device(device), inbox=inbox, force=force)
        await self._call(self._rpc.messaging.DeleteInbox, request, timeout)

    def on_call(
        self, *topics: str, device: models.Device | None = None, workers: int = 4
    ) -> Callable[[Callable[[models.Call], Awaitable[models.Payload] | models.Payload]], CallHandler]:
        """Make a function answer calls from the platform (RRPC).

        For example::

            @client.on_call()
            async def answer(call: Call) -> bytes:
                return b"done"

        It answers from then on, until `CallHandler.close` or the client's. A call has 8 seconds. A function that raises is logged, and the
        platform gets no answer.

        Args:
            topics: The topics to answer, with MQTT's wildcards: what stands behind ``/ext/rrpc/ID`` in a call's topic, or
                ``/sys/PRODUCT_KEY/DEVICE_NAME/rrpc/request/+``. None given: those that the platform sends unasked.
            device: The device; None is the client's.
            workers: How many calls may be answered at once.
        """

        def decorate(handler: Callable[[models.Call], Awaitable[models.Payload] | models.Payload]) -> CallHandler:
            first = messaging_pb2.AnswerCallsRequest(device=self._device(device), topics=topics)
            return self._begin(lambda forget: CallHandler(handler, first, workers, self._opener(self._rpc.messaging.AnswerCalls), self._persist(), forget))

        return decorate

    # Its end.

    async def close(self) -> None:
        """Close the client and all that it has opened: streams end, publishers and consumers as by their own close. The device stays online.

        Called in a handler, it does not wait for that handler, whose answer is still sent.
        """
        if self._origin.forked():
            return
        self._closed = True
        for one in list(self._opened):
            await one.close()
        self._left = bool(self._opened)  # closed in a handler: what runs last closes the channel, for it has answers to send
        if not self._left:
            await self._close_channel()

    async def _close_channel(self) -> None:
        if self._stubs is not None:
            stubs, self._stubs = self._stubs, None  # gRPC ends the connection with the last that knows the channel
            await stubs.channel.close()

    async def __aenter__(self) -> SidecarClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"SidecarClient({self.address!r})"

    # How a call is made.

    def _device(self, device: models.Device | None) -> device_pb2.Device | None:
        return _convert.device(device if device is not None else self._default)

    def _usable(self) -> None:
        self._origin.check()
        if self._closed:
            raise errors.ClientClosedError("the client is closed")

    @property
    def _rpc(self) -> _Stubs:
        self._usable()
        if self._stubs is None:
            self._stubs = _Stubs(self._target)
        elif self._stubs.loop is not asyncio.get_running_loop():
            raise RuntimeError("this client belongs to the event loop in which it was first used: make one for each")
        return self._stubs

    async def _wait_ready(self, bound: float, why: str = "") -> None:
        try:
            await asyncio.wait_for(self._rpc.channel.channel_ready(), bound)
        except asyncio.TimeoutError:
            raise self._target.nobody(bound, why) from None

    async def _call(self, rpc: Any, request: Any, timeout: float | None, repeat: bool = False, cut: type[errors.SidecarError] | None = None) -> Any:
        """Make a unary call. One that never left is made again once a sidecar listens; one that was cut too, if it may be repeated.

        `cut` is the error of one that was cut and may not, where that says more than that the sidecar is gone.
        """
        bound = self._timeout if timeout is None else timeout
        deadline = Deadline(bound)
        try:
            try:
                return await rpc(request, timeout=bound, metadata=self._target.metadata)
            except grpc.RpcError as error:
                if not may_repeat(error, repeat):
                    raise
                why = to_error(error).detail
            await self._wait_ready(min(self._start_timeout, deadline.left()), why)
            return await rpc(request, timeout=deadline.left(), metadata=self._target.metadata)
        except grpc.RpcError as error:
            raise to_error(error, deadline, cut, self._closed) from None
        except (asyncio.CancelledError, grpc.aio.UsageError):
            if not self._closed or being_cancelled(otherwise=False):  # the client was closed: that is the likelier cause
                raise
            raise (cut or errors.ClientClosedError)("the client was closed before the answer came") from None

    def _opener(self, rpc: Any) -> Callable[[Any], Any]:
        """What opens a stream; it has no deadline, and ends by being cancelled."""

        def open_stream(request: Any) -> Any:
            self._origin.check()
            return rpc(request, metadata=self._target.metadata)

        return open_stream

    def _persist(self) -> Persistence:
        return Persistence(self._resume_timeout)

    def _stream(self, kind: Callable[..., T], name: str, feed: Any, rpc: Any) -> T:
        return self._begin(lambda forget: kind(name, feed, self._opener(rpc), self._persist(), forget))

    def _begin(self, make: Callable[[Callable[[Any], None]], T]) -> T:
        self._usable()
        made = make(self._forget)
        self._opened.add(made)
        return made

    def _forget(self, one: Any) -> None:
        """Called by what this client has opened, when its last task has ended."""
        self._opened.discard(one)
        if self._left and not self._opened:
            self._closing = asyncio.get_running_loop().create_task(self._close_channel())


class _Stubs:
    """A channel and the services on it. Both belong to the event loop that runs when they are made."""

    def __init__(self, target: Target) -> None:
        self.loop = asyncio.get_running_loop()  # gRPC would make a loop of its own where none runs
        if target.credentials is None:
            self.channel = grpc.aio.insecure_channel(target.address, target.options)
        else:
            self.channel = grpc.aio.secure_channel(target.address, target.credentials, target.options)
        self.connectivity = connectivity_pb2_grpc.ConnectivityServiceStub(self.channel)
        self.messaging = messaging_pb2_grpc.MessagingServiceStub(self.channel)
