"""Somebody new: an empty virtual environment, into which the wheel was installed, and nothing of a clone in sight."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[3]
PATIENCE = 300  # seconds for what builds or downloads


def build(into: Path) -> list[Path]:
    """Build the wheels and the source distribution, as `make wheel` does."""
    make = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")}
    subprocess.run(["make", "-C", str(ROOT), "wheel", f"DIST={into}"], check=True, stdout=subprocess.DEVNULL, env=make, timeout=PATIENCE)
    return sorted(path for path in into.iterdir() if path.is_file())


class User:
    """Runs programs in an environment of its own."""

    def __init__(self, directory: Path, install: Iterable[Path]) -> None:
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        self.bin = directory / "venv" / "bin"
        self.environ = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8"}
        subprocess.run([sys.executable, "-m", "venv", str(self.bin.parent)], check=True)
        self.install(*map(str, install))

    def install(self, *packages: str) -> None:
        # pip is configured by the machine's own files and variables.
        subprocess.run(
            [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
            check=True,
            env={**os.environ, "PYTHONPATH": ""},
            timeout=PATIENCE,
        )

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command of the environment's."""
        streams: dict[str, int | IO[Any]] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([self.bin / command[0], *command[1:]], cwd=self.home, env={**self.environ, **variables}, text=True, **streams)

    def run(self, *command: str, **variables: str) -> str:
        """Run it to its end, which must be a good one, and return what it said."""
        with self.start(*command, **variables) as process:
            said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{said}"
        return said

    def python(self, code: str) -> str:
        """Run a program; a warning is an error."""
        program = self.home / "program.py"
        program.write_text(code)
        return self.run("python", "-W", "error", str(program))
