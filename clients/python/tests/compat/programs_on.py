"""Programs that run on the vendor's package or on ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkkit_sidecar import Device

PROGRAMS = Path(__file__).parent / "programs"
SOURCES = Path(__file__).parents[2] / "src"


class Program:
    """A program that runs; it is ended after two minutes."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors: list[str] = []
        self._over = threading.Timer(120, self.process.kill)
        self._over.start()
        self._reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()))
        self._reader.start()

    @property
    def stdout(self) -> Iterator[str]:
        assert self.process.stdout is not None
        return iter(self.process.stdout)

    def end(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(120)
        self._over.cancel()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


def begin(name: str, platform: Any, device: Device, secret: str, address: str | None) -> Program:
    """Start a program, on the sidecar at `address` or on the vendor's package."""
    given = {
        "host_name": "localhost",
        "product_key": device.product_key,
        "device_name": device.device_name,
        "device_secret": secret,
        "product_secret": platform.product_secret,
        "port": platform.endpoint.port,
        "cadata": platform.ca_pem,
    }
    command = [sys.executable, *(["-m", "linkkit_sidecar.run", "--address", address] if address else []), str(PROGRAMS / f"{name}.py")]
    return Program(command, {**os.environ, "PROGRAM": json.dumps(given), "PYTHONPATH": str(SOURCES)})
