"""LinkKit objects of ours whose callbacks are recorded."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linkkit_sidecar.compat import Configuration, configuration
from linkkit_sidecar.compat.linkkit import LinkKit

CALLBACKS = (
    "on_connect",
    "on_disconnect",
    "on_publish_topic",
    "on_subscribe_topic",
    "on_unsubscribe_topic",
    "on_topic_message",
    "on_topic_rrpc_message",
    "on_device_dynamic_register",
    "on_device_dynamic_register_nwl_reply",
    "on_thing_enable",
    "on_thing_disable",
    "on_thing_raw_data_arrived",
    "on_thing_raw_data_post",
)


class Recorded:
    """A LinkKit and what its callbacks were told."""

    def __init__(self, kit: LinkKit, *left_out: str) -> None:
        self.kit = kit
        self.told: list[tuple[Any, ...]] = []
        self._by_name: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._changed = threading.Condition()
        for name in CALLBACKS:
            if name not in left_out:
                setattr(kit, name, lambda *values, name=name: self.say(name, *values))

    def say(self, *line: Any) -> None:
        with self._changed:
            self.told.append(line)
            self._by_name[line[0]].append(line[1:])
            self._changed.notify_all()

    def of(self, name: str) -> list[tuple[Any, ...]]:
        with self._changed:
            return list(self._by_name[name])

    def wait(self, name: str, count: int = 1, within: float = 30) -> tuple[Any, ...]:
        """Wait until a callback has come `count` times, and return its arguments."""
        deadline = time.monotonic() + within
        with self._changed:
            while True:
                found = self._by_name[name]
                if len(found) >= count:
                    return found[count - 1]
                assert self._changed.wait(deadline - time.monotonic()), f"{name} did not come {count} times; what came: {self.told[-30:]}"

    def until(self, what: Callable[[], object], within: float = 30) -> None:
        deadline = time.monotonic() + within
        while not what():
            assert time.monotonic() < deadline, f"it did not come about; what came: {self.told[-30:]}"
            time.sleep(0.02)

    def online(self) -> Recorded:
        self.kit.connect_async()
        assert self.wait("on_connect")[1] == 0, self.told
        return self


@pytest.fixture
def configured(sidecar: Any) -> Iterator[Configuration]:
    """The sidecar of this test is the one that is used."""
    configuration.address = sidecar.address
    yield configuration
    for name, value in vars_of(Configuration()).items():
        setattr(configuration, name, value)


def vars_of(value: Configuration) -> dict[str, Any]:
    return {name: getattr(value, name) for name in Configuration.__slots__}


@pytest.fixture
def make(configured: Configuration, platform: Any, device: Any) -> Iterator[Callable[..., Recorded]]:
    """Makes LinkKit objects that lead to the sandbox, and ends them."""
    made: list[LinkKit] = []

    def one(*left_out: str, mqtt: dict[str, Any] | None = None, **arguments: Any) -> Recorded:
        given: dict[str, Any] = {
            "host_name": "localhost",
            "product_key": device[0].product_key,
            "device_name": device[0].device_name,
            "device_secret": device[1].secret,
        }
        kit = LinkKit(**{**given, **arguments})
        kit.config_mqtt(**{"port": platform.endpoint.port, "cadata": platform.ca_pem, "auto_reconnect_max_sec": 2, **(mqtt or {})})
        made.append(kit)
        return Recorded(kit, *left_out)

    yield one
    for kit in made:
        kit.destruct()


@pytest.fixture
def recorded(make: Callable[..., Recorded]) -> Recorded:
    """One for the device of this test."""
    return make()
