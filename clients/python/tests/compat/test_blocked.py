"""A callback that blocks for 30 seconds while the platform sends 3,000 messages, on the vendor's package and on ours at once."""

from __future__ import annotations

import json
import threading
from typing import Any

from linkkit_sidecar import Device
from linkkit_sidecar.sandbox.v1 import sandbox_pb2

from .programs_on import begin

MESSAGES = 3000


def run(platform: Any, address: str | None, result: dict[str, Any]) -> None:
    device, secret = platform.device()
    program = begin("blocks", platform, device, secret.secret, address)
    try:
        for line in program.stdout:
            said = json.loads(line)
            result.setdefault("said", []).append(said)
            if said[0] == "push":
                result["link"] = link(platform, device)
                platform.push(device, "user/get", b"0")
            if said[0] == "blocking":
                for i in range(1, MESSAGES):
                    platform.push(device, "user/get", str(i).encode())
            if said[0] == "received":
                result["received"] = said[1]
                result["link at the end"] = link(platform, device)
                program.process.stdin.write("\n")
                program.process.stdin.flush()
        result["code"] = program.end()
    except BaseException as error:  # for the thread that looks at it
        result["error"] = error
        program.process.kill()
        raise


def link(platform: Any, device: Device) -> tuple[int, int]:
    """The number of the link that is up, and how often the device logged in."""
    devices = platform.console.ListDevices(sandbox_pb2.ListDevicesRequest(), timeout=10).devices
    (found,) = (one for one in devices if one.device.device_name == device.device_name)
    return found.connection_id, found.logins


def test_a_callback_that_blocks_loses_no_message_and_no_link(platform: Any, sidecar: Any) -> None:
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    threads = [
        threading.Thread(target=run, args=(platform, None, theirs)),
        threading.Thread(target=run, args=(platform, sidecar.address, ours)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert ours["received"] == list(range(MESSAGES)), ours["said"][:10]
    assert ours["link"] == ours["link at the end"]
    assert ours["link"][1] == 1
    assert ["on_disconnect"] not in [line[:1] for line in ours["said"][: ours["said"].index(["free"])]]
    assert ours["code"] == 0
    # The vendor's keeps the link, for another thread serves it, but that one throws away a message for each 5 seconds that it has waited for
    # room among 2,000 callbacks, after telling the platform that it has the message.
    lost = MESSAGES - len(theirs["received"])
    print("the vendor's lost", lost)
    assert 1 <= lost <= 10, lost
    assert theirs["link"] == theirs["link at the end"]
