"""A sidecar of this program's own, for where there is no daemon."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ._process import MAX_SOCKET_PATH, PrivateDirectory, Process
from .client import SidecarClient

__all__ = ["Sidecar"]


class Sidecar:
    """A sidecar that this program starts, and that ends with it.

    For example::

        with Sidecar(state_dir="/var/lib/my-app") as sidecar, sidecar.client() as client:
            client.connect(Device("a1B2c3D4e5F", "dev-001"), credential=DeviceSecret(...))

    It runs until `close`, the end of a ``with`` block, or the end of the program, even one that was killed: the sidecar then notices that
    the pipe to its standard input is closed, and stops in good order. A Ctrl-C does not reach it. After a fork it stays the parent's: the
    child may talk to it by a client of its own, and neither stops nor restarts it. Safe to use from several threads.

    With more than one program on a machine, or where devices shall stay online while the program restarts, run ``linkkit-sidecar serve``
    as a service instead.

    Args:
        state_dir: Where credentials, queues and the journal are, so that what was accepted outlives this program; mode 0700, and one sidecar
            at a time. It is made if need be, and kept. None: a temporary directory that is removed at the end. A program that is
            killed leaves that behind.
        address: Where it listens: ``unix:///PATH``, at most 107 bytes of path, or ``HOST:PORT`` (then with `args` that say who may call).
            None: a socket in a directory of mode 0700, for this user only.
        config: A configuration file: devices to keep online, policy, limits. None: the one that LINKKIT_SIDECAR_CONFIG names, if any. Other
            settings too come from the environment, as the command reads them.
        ca_file: PEM certificates to trust beside the platform's own roots: `Sandbox.ca_file`, say.
        args: Further arguments of ``linkkit-sidecar serve``, such as ``["--publish-rate", "30"]``.
        log: Where its log goes. A path: it is added to that file. An open file such as ``sys.stderr``: into that. None: warnings and
            errors go to a temporary file, shown when it ends of itself. It never goes through this program, which, when stopped or busy,
            would hold up the sidecar.
        binary: The command. None: what LINKKIT_SIDECAR_BINARY names, or the one in the wheel, or the first on PATH.
        start_timeout: Seconds until it must be ready. Default 30.
        stop_timeout: Seconds that it may take to stop: calls under way end, devices say goodbye. Then it is killed, by which nothing that
            was accepted is lost. Default 15.

    Raises:
        StartError: It did not start: the state directory is in use, say. The message has the last lines of its log.
        BinaryNotFoundError: There is no command linkkit-sidecar; the message says where it was looked for.
        ValueError: The path of the socket is too long.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str] | None = None,
        *,
        address: str | None = None,
        config: str | os.PathLike[str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        args: Sequence[str] = (),
        log: str | os.PathLike[str] | IO[Any] | None = None,
        binary: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
        stop_timeout: float = 15.0,
    ) -> None:
        if address is not None and address.startswith("unix:") and len(os.fsencode(address.removeprefix("unix://"))) > MAX_SOCKET_PATH:
            raise ValueError(f"a socket's path has at most {MAX_SOCKET_PATH} bytes: {address}")
        directory = PrivateDirectory()
        private = directory.path
        state = private / "state" if state_dir is None else Path(state_dir).absolute()
        command = ["serve", "--listen", address or f"unix://{private}/sidecar.sock", "--state-dir", str(state)]
        if config is not None:
            command += ["--config", os.path.abspath(config)]
        if ca_file is not None:
            command += ["--ca-file", os.path.abspath(ca_file)]
        self._process = Process("sidecar", directory, command, args, binary=binary, log=log, start_timeout=start_timeout, stop_timeout=stop_timeout)

    @property
    def address(self) -> str:
        """Where it listens, as clients take it."""
        return str(self._process.ready["address"])

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return self._process.pid

    def client(self, **settings: Any) -> SidecarClient:
        """Return a new client of it.

        Args:
            settings: What `SidecarClient` takes beside the address.
        """
        return SidecarClient(self.address, **settings)

    def start(self) -> None:
        """Start it again, at the same address and with the same state, when it does not run: after `stop` or `kill`, or when it ended of itself."""
        self._process.start()

    def stop(self) -> None:
        """Stop it in good order: devices say goodbye to the platform. `start` starts it again, and they come back."""
        self._process.stop()

    def kill(self) -> None:
        """Kill it as a crash would, to test what a program makes of that. `start` starts it again; nothing that was accepted is lost."""
        self._process.kill()

    def close(self) -> None:
        """Stop it in good order, and remove what is temporary. Close clients first."""
        self._process.close()

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Sidecar({self.address!r})"
