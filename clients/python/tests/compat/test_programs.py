"""Programs in the vendor's API, each once on the vendor's package and once on ours: the callbacks are the same."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from linkkit_sidecar import Device
from linkkit_sidecar.sandbox.v1 import sandbox_pb2

from .programs_on import PROGRAMS, begin


def push(*messages: tuple[str, bytes, int]) -> Callable[[Any, Device], None]:
    def act(platform: Any, device: Device) -> None:
        for end, payload, qos in messages:
            topic = end.format(pk=device.product_key, dn=device.device_name)
            request = sandbox_pb2.PublishDownstreamRequest(device=platform.named(device), topic=topic, payload=payload, qos=qos)
            delivery = platform.console.PublishDownstream(request, timeout=10).delivery
            assert delivery == sandbox_pb2.DELIVERY_SENT, (topic, delivery)

    return act


def call(topic: str, payload: bytes) -> Callable[[Any, Device], None]:
    def act(platform: Any, device: Device) -> None:
        request = sandbox_pb2.CallDeviceRequest(device=platform.named(device), topic=topic and device.topic(topic), payload=payload)
        assert platform.console.CallDevice(request, timeout=10).payload == b"answer to " + payload

    return act


def kick(platform: Any, device: Device) -> None:
    platform.console.KickDevice(sandbox_pb2.KickDeviceRequest(device=platform.named(device)), timeout=10)


CUSTOM = "/{pk}/{dn}/user/"
THING = "/sys/{pk}/{dn}/thing/"

# What the platform does when a program says a word.
PLATFORM: dict[str, dict[str, Callable[[Any, Device], None]]] = {
    "connect_and_disconnect": {"kick": kick, "push": push((CUSTOM + "get", b"again", 1))},
    "subscribe_and_publish": {
        "push": push(*((CUSTOM + end, f"{end} {i}".encode(), i % 2) for i in range(3) for end in ("get", "b/c", "zero"))),
        "push again": push((CUSTOM + "get", b"last", 1)),
    },
    "calls": {
        "call": call("user/ask", b"question"),
        "call the system's topic": call("", b"another"),
        "push what the system sends": push(
            (THING + "config/push", b'{"id":"1"}', 0), ("/ota/device/upgrade/{pk}/{dn}", b'{"id":"2"}', 1), ("/ext/ntp/{pk}/{dn}/response", b"{}", 0)
        ),
    },
    "raw_data": {"posted": push((THING + "model/up_raw_reply", b"got it", 0)), "push": push((THING + "model/down_raw", b"\x01\x02", 0))},
}

# Where ours differs: the quirk of the vendor's, by its number in docs/migrating.md, the vendor's lines, and ours in their place.
Lines = list[list[Any]]
MENDED: dict[str, list[tuple[int, Lines, Lines]]] = {
    "pre_registered": [(16, [["on_connect", 0, 0, "mine"], ["on_disconnect", 0, "mine"]], [])],
    "registration_free": [(16, [["on_connect", 0, 0, None], ["on_disconnect", 0, None]], [])],
}
OTHERS = {"recorder", "blocks"}  # what the programs share, and one that is compared elsewhere
NEW_DEVICES = {"pre_registered", "registration_free", "not_registered"}


def run(name: str, platform: Any, address: str | None) -> Lines:
    """Run a program, on the sidecar at `address` or on the vendor's package, and return its record."""
    device, secret = platform.device(secret=name not in NEW_DEVICES)
    if name == "registration_free":
        device = Device(device.product_key, f"made-by-itself-{os.urandom(4).hex()}")
    program = begin(name, platform, device, secret.secret, address)
    record: Lines = []
    acts = PLATFORM.get(name, {})
    for line in program.stdout:
        said = json.loads(line.replace(device.device_name, "DEVICE"))
        record.append(said)
        if said[0] in acts:
            acts[said[0]](platform, device)
    code = program.end()
    assert code == 0, f"{program.command} ended with {code}, after {record[-20:]}:\n{''.join(program.errors)}"
    return record


def run_the_vendors(name: str, platform: Any) -> Lines:
    """Run a program on the vendor's package; again when its threads got in each other's way."""
    for _ in range(2):
        try:
            return run(name, platform, None)
        except AssertionError as error:
            print(error)
    return run(name, platform, None)


def mended(record: Lines, differences: list[tuple[int, Lines, Lines]]) -> Lines:
    record = list(record)
    for quirk, theirs, ours in differences:
        at = record.index(theirs[0]) if theirs else 0
        for line in theirs:
            assert line in record, f"quirk {quirk}: the vendor's does not do {line} any more"
            record.remove(line)
        record[at:at] = ours
    return record


@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.py") if path.stem not in OTHERS))
def test_a_program_is_told_the_same_on_the_sidecar(name: str, platform: Any, sidecar: Any) -> None:
    theirs = run_the_vendors(name, platform)
    ours = run(name, platform, sidecar.address)
    expected = mended(theirs, MENDED.get(name, []))
    assert ours == expected, "\n".join(difflib.ndiff([str(line) for line in expected], [str(line) for line in ours]))
