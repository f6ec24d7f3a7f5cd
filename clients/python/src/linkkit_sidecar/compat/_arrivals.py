"""What the platform sends: one stream of messages, whose filters change while it runs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from linkkit_sidecar import errors
from linkkit_sidecar._blocking import Stream
from linkkit_sidecar._convert import device as to_device
from linkkit_sidecar._feeds import Feed, MessageFeed
from linkkit_sidecar.client import SidecarClient
from linkkit_sidecar.models import Device, Gap
from linkkit_sidecar.v1 import messaging_pb2

from ._filters import matches
from ._log import Log

_JOIN = 0.1  # seconds of silence of a stream after which another takes its place, when no message that came by both tells where
_LINGER = 1.0  # seconds that a stream is read after another has taken its place, when it is not known sooner that it is empty
_LINGER_LONGEST = 5.0
_QUIET = 0.3  # seconds without a message after which it is taken to be empty


class Arrival(NamedTuple):
    """A message from the platform."""

    topic: str
    payload: bytes
    qos: int
    time_ns: int  # when the sidecar got it


class _ArrivalFeed(Feed[Any]):
    """`MessageFeed` with cheaper items."""

    def __init__(self, device: Device, filters: Sequence[str], max_waiting: int) -> None:
        self._inner = MessageFeed(to_device(device), filters, max_waiting)

    @property
    def granted(self) -> bool:
        return self._inner.granted

    def request(self) -> messaging_pb2.SubscribeRequest:
        return self._inner.request()

    def items(self, response: messaging_pb2.SubscribeResponse) -> Iterable[Any]:
        messages = [Arrival(m.topic, m.payload, m.qos, m.receive_time.seconds * 1_000_000_000 + m.receive_time.nanos) for m in response.messages]
        response.ClearField("messages")
        return [*self._inner.items(response), *messages]


class _Generation(Stream[Any]):
    """The stream for one set of filters. It hands over what it reads on its own thread."""

    def __init__(self, owner: Arrivals, filters: frozenset[str], *rest: Any) -> None:
        self.filters = filters
        self.decided = threading.Event()  # granted, or failed
        self.last = time.monotonic()  # when it brought something
        self.replaced = 0.0  # when another took its place
        self.spent = False  # it brings nothing more that the other does not
        self.ahead: dict[Arrival, None] = {}  # what it brought before it took the place of another
        self.held: list[Arrival] = []  # what it brought while another was about to take its place
        self.behind: list[Arrival] = []  # what it brought after another took its place, which that one should bring too
        self._owner = owner
        super().__init__(*rest)

    @property
    def failed(self) -> errors.SidecarError | None:
        return self._final

    @property
    def granted(self) -> bool:
        return self.decided.is_set() and self._final is None

    def is_over(self, now: float) -> bool:
        """Whether a stream that was replaced need not be read any more."""
        since = now - self.replaced
        return self.spent or since >= _LINGER_LONGEST or (since >= _LINGER and now - self.last >= _QUIET)

    def _told(self) -> None:
        if self._feed.granted or self._final is not None:  # type: ignore[attr-defined]
            self.decided.set()

    def _put(self, items: Any) -> None:
        if self._closed.is_set():
            return
        if isinstance(items, errors.SidecarError):
            self._owner._broke(self, items)
        else:
            self._owner._take(self, items)


class Arrivals:
    """Delivers each message once and in its order, whatever is subscribed to and unsubscribed from meanwhile.

    A stream of the sidecar's has one set of filters, and a filter that is refused ends it. So a change opens another stream beside the one
    that runs, and waits for its filters to be granted. It takes the other's place at the first message that comes by both, or when the other is
    silent for a moment; the other is read on until it is surely empty. One stream, and not one for each filter, because only within a
    stream there is an order.

    Args:
        client: The client.
        device: The device.
        base: Filters that are always wanted.
        max_waiting: How many messages may wait in the sidecar.
        deliver: Called with each `Arrival`, on a thread that must not be blocked.
        log: Tells what went wrong.
    """

    def __init__(self, client: SidecarClient, device: Device, base: Iterable[str], max_waiting: int, deliver: Callable[[Arrival], None], log: Log) -> None:
        self.missed = 0  # messages that are known to be lost
        self._client = client
        self._device = device
        self._base = frozenset(base)
        self._max_waiting = max_waiting
        self._deliver = deliver
        self._log = log
        self._lock = threading.Lock()
        self._current: _Generation | None = None
        self._joining: _Generation | None = None  # what is to take its place
        self._granted = False  # and may
        self._granted_at = 0.0
        self._retiring: list[_Generation] = []
        self._seen: set[Arrival] | None = None  # what was delivered while more than one stream is read
        self._wanted: frozenset[str] = frozenset()
        self._wanted_topics: dict[str, bool] = {}  # what matches was found to say of them
        self._ready = threading.Event()  # the first stream is open
        self._closed = threading.Event()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._work.put(self._begin)
        self._thread = threading.Thread(target=self._serve, name="linkkit-sidecar-subscriptions", daemon=True)
        self._thread.start()

    def subscribe(self, filters: Sequence[str], done: Callable[[list[bool]], None]) -> None:
        """Want filters too; `done` is called with which of them the platform granted, when it has decided."""
        self._work.put(lambda: done(self._add(filters)))

    def unsubscribe(self, filters: Sequence[str], done: Callable[[], None]) -> None:
        """No longer want filters; `done` is called when nothing comes for them any more."""

        def remove() -> None:
            self._change(self._wanted.difference(filters))
            done()

        self._work.put(remove)

    def wait_ready(self, timeout: float) -> None:
        """Wait until what comes on the link that is up arrives here."""
        self._ready.wait(timeout)
        with self._lock:
            current = self._current
        if current is not None:
            current.decided.wait(timeout)

    def drain(self, within: float) -> None:
        """Wait until nothing has come for a moment, `within` seconds at most."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            with self._lock:
                streams = [one for one in (self._current, self._joining) if one is not None]
            if all(time.monotonic() - one.last >= 0.05 for one in streams) and self._joining is None:
                return
            time.sleep(0.01)

    def close(self) -> None:
        """End all streams."""
        self._closed.set()
        self._work.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    # The thread that changes what is subscribed to.

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                job = self._work.get(timeout=0.02 if self._joining is not None else 0.2 if self._retiring else None)
            except queue.Empty:
                self._tend()
                continue
            if job is None:
                continue
            try:
                job()
            except errors.ClientClosedError:
                return  # and with the client all streams
        with self._lock:
            if self._granted:
                self._change_over()
            left = self._retiring + [one for one in (self._current, self._joining) if one is not None]
            self._retiring = []
        for one in left:
            one.close()
            self._deliver_behind(one)

    def _tend(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        with self._lock:
            silent_since = max(self._granted_at, self._current.last if self._current is not None else 0.0)
            if self._joining is not None and self._granted and now - silent_since >= _JOIN:
                self._change_over()
            over = [one for one in self._retiring if one.is_over(now)]
            self._retiring = [one for one in self._retiring if one not in over]
        for one in over:
            one.close()
            self._deliver_behind(one)
        with self._lock:
            if not self._retiring and self._joining is None:
                self._seen = None

    def _begin(self) -> None:
        """Open the first stream. What it asks for needs no grant, so that nobody waits for the device to be online."""
        if self._base:
            with self._lock:
                self._current = self._open(self._base)
        self._ready.set()

    def _open(self, filters: frozenset[str]) -> _Generation:
        client = self._client
        feed = _ArrivalFeed(self._device, sorted(filters), self._max_waiting)
        rpc = client._opener(client._messaging.Subscribe)
        return client._begin(lambda forget: _Generation(self, filters, "linkkit-sidecar-messages", feed, rpc, client._persist(), forget))

    def _add(self, filters: Sequence[str]) -> list[bool]:
        new = [one for one in dict.fromkeys(filters) if one not in self._wanted]
        if not new or self._change(self._wanted.union(new)) is None:
            return [True] * len(filters)
        if len(new) > 1:  # which is refused is found out by asking for each alone
            refused = {one for one in new if self._change(self._wanted.union([one])) is not None}
            return [one not in refused for one in filters]
        return [one not in new for one in filters]

    def _change(self, wanted: frozenset[str]) -> errors.SidecarError | None:
        """Make another set of filters the wanted one; on an error all is as before."""
        while self._joining is not None and not self._closed.wait(0.01):
            self._tend()
        if wanted == self._wanted and self._current is not None:
            return None
        filters = self._base | wanted
        if not filters:
            with self._lock:
                self._want(wanted)
                self._change_over()
            return None
        try:
            with self._lock:
                if self._seen is None:
                    self._seen = set()
                opened = self._joining = self._open(filters)
        except errors.SidecarError as error:  # the client was closed
            return error
        while not opened.decided.wait(0.2) and not self._closed.is_set():
            self._tend()
        failed = opened.failed if opened.decided.is_set() else errors.ClientClosedError("the program has ended the link")
        if failed is None:
            with self._lock:
                self._want(wanted)
                self._granted, self._granted_at = True, time.monotonic()
                self._change_over_at_what_both_have()
            return None
        with self._lock:
            self._joining = None
            if self._current is not None:
                for item in self._current.held:
                    self._once(item)
                self._current.held.clear()
        opened.close()
        self._tend()
        if not self._closed.is_set():
            self._log.error("topic filters were not granted: %s", failed)
        return failed

    def _want(self, filters: frozenset[str]) -> None:
        """Note what is wanted beside the base. The lock is held."""
        self._wanted = filters
        self._wanted_topics.clear()

    def _change_over_at_what_both_have(self) -> None:
        """Let the stream that is joining take its place if it is known where it goes on. The lock is held."""
        old, new, seen = self._current, self._joining, self._seen
        if old is None or new is None or not self._granted or seen is None:
            return
        if any(item in new.ahead for item in old.held) or any(item in seen for item in new.ahead):
            self._change_over()

    def _change_over(self) -> None:
        """Let the stream that is joining take the place of the current one. The lock is held."""
        old, new = self._current, self._joining
        self._current, self._joining, self._granted = new, None, False
        ahead = {} if new is None else new.ahead
        if old is not None:
            at = next((at for at, item in enumerate(old.held) if item in ahead), len(old.held))
            for item in old.held[:at]:
                self._once(item)
            old.behind += old.held[at:]
            old.replaced = time.monotonic()
            self._retiring.append(old)
        for item in ahead:
            self._once(item)
        ahead.clear()

    def _once(self, item: Arrival) -> None:
        """Deliver a message that may have come by another stream. The lock is held."""
        if self._seen is not None:
            if item in self._seen:
                return
            self._seen.add(item)
        self._deliver(item)

    def _is_wanted(self, item: Arrival) -> bool:
        known = self._wanted_topics.get(item.topic)
        if known is None:
            if len(self._wanted_topics) >= 1000:
                self._wanted_topics.clear()
            known = self._wanted_topics[item.topic] = any(matches(one, item.topic) for one in self._base | self._wanted)
        return known

    def _deliver_behind(self, stream: _Generation) -> None:
        """Deliver what only a stream that is closed now has brought."""
        with self._lock:
            for item in stream.behind:
                if self._seen is not None and item in self._seen:
                    return  # from here on all comes by the other, in its turn
                if self._is_wanted(item):
                    self._once(item)

    def _mend(self, broken: _Generation, error: errors.SidecarError) -> None:
        """Go on after the stream that is read has failed: without the filter that was refused, or without what the program may not have."""
        with self._lock:
            if self._granted:
                self._change_over()
            if broken is not self._current or self._closed.is_set():
                return
            self._current = None
        broken.close()
        wanted = self._wanted
        with self._lock:
            self._want(frozenset())
        self._log.error("the subscriptions broke and are made anew; messages may be missing: %s", error)
        if isinstance(error, errors.NotFoundError):
            return  # the device was forgotten
        if self._change(wanted) is None:
            return
        if isinstance(error, errors.CallerError):
            self._base = frozenset()
            self._wanted_topics.clear()
        for one in sorted(wanted):
            if self._change(self._wanted.union([one])) is not None:
                self._log.error("topic filter %s is not subscribed to any more", one)

    # The threads of the streams.

    def _broke(self, stream: _Generation, error: errors.SidecarError) -> None:
        self._work.put(lambda: self._mend(stream, error))

    def _take(self, stream: _Generation, items: list[Any]) -> None:
        with self._lock:
            for item in items:
                if isinstance(item, Gap):
                    self.missed += item.missed or 0
                    self._log.error("messages are missing (%s): %s", "unknown how many" if item.missed is None else item.missed, item.detail)
                    continue
                if self._seen is not None and not self._is_wanted(item) and (self._granted or stream.replaced):
                    continue  # unsubscribed from
                stream.last = time.monotonic()
                if self._seen is None:
                    self._deliver(item)
                elif stream is self._joining:
                    stream.ahead[item] = None
                    self._change_over_at_what_both_have()
                elif stream.replaced:
                    stream.behind.append(item)
                    stream.spent = stream.spent or item in self._seen
                elif self._joining is not None and self._joining.granted:
                    stream.held.append(item)
                    self._change_over_at_what_both_have()
                else:
                    self._once(item)
