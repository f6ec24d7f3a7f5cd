"""Puts the command into the wheel, when LINKKIT_SIDECAR_WHEEL_BINARY names it; else the wheel is pure.

The notices of what is linked into it are expected beside it, as NOTICES.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# A static binary runs with any C library, or none. So both families of tags are right; the versions are the oldest that pip knows for all.
MACHINES = {62: "x86_64", 183: "aarch64"}
TAG = "py3-none-manylinux_2_17_{0}.manylinux2014_{0}.musllinux_1_1_{0}"


class CommandHook(BuildHookInterface[Any]):
    """Adds the command, its notices, and a script of its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        named = os.environ.get("LINKKIT_SIDECAR_WHEEL_BINARY")
        if not named or version == "editable":
            return
        binary = Path(named)
        build_data["tag"] = TAG.format(machine(binary))
        build_data["pure_python"] = False
        build_data["force_include"][str(binary)] = "linkkit_sidecar/_bin/linkkit-sidecar"
        build_data["force_include"][str(binary.with_name("NOTICES"))] = "linkkit_sidecar/_bin/NOTICES"
        build_data["shared_scripts"][str(Path(self.root) / "scripts" / "linkkit-sidecar")] = "linkkit-sidecar"


def machine(binary: Path) -> str:
    """Read for which machine a binary is, and make sure that it needs no loader, which would make the tag a lie."""
    data = binary.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{binary} is no 64-bit little-endian ELF file")
    number, headers, size, count = struct.unpack_from("<H", data, 18) + struct.unpack_from("<Q", data, 32) + struct.unpack_from("<HH", data, 54)
    if any(struct.unpack_from("<I", data, headers + i * size)[0] == 3 for i in range(count)):  # PT_INTERP
        raise ValueError(f"{binary} is linked dynamically: build it with CGO_ENABLED=0")
    if number not in MACHINES:
        raise ValueError(f"{binary} is for a machine of ELF number {number}; known are {MACHINES}")
    return MACHINES[number]
