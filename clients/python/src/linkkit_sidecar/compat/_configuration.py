"""What cannot be said in the vendor's API: where the sidecar is, and what it may do beyond."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Configuration:
    """Settings of all LinkKit objects of this program, which the options of ``linkkit_sidecar.run`` set.

    Attributes:
        address: Where the sidecar is. None: the environment variable LINKKIT_SIDECAR_ADDRESS, or the default socket.
        stored: Publish STORED: a message is taken also while the device is offline, and survives restarts of sidecar and machine.
        max_waiting: How many messages from the platform may wait in the sidecar for this program, 1 to 100000.
        register_again: Register although the sidecar has a credential. Otherwise that one is used.
    """

    address: str | None = None
    stored: bool = False
    max_waiting: int = 100_000
    register_again: bool = False


configuration = Configuration()
