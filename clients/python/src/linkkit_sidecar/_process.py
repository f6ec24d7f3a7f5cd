"""A server of the command linkkit-sidecar that belongs to this program: started, awaited, and ended with it.

It ends with this program however that ends. The program holds a pipe to its standard input, which the system closes even of a program
that was killed, and the server stops when it is closed (``--stop-with-stdin``). The kernel's way, PR_SET_PDEATHSIG, is of no use here: it
acts at the end of the thread that started the server.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from . import _binary, errors

MAX_SOCKET_PATH = 107  # bytes; the kernel's
_LAST_LINES = 10  # of the log, in an error

_logger = logging.getLogger("linkkit_sidecar")

_open: set[Process] = set()  # those that were started and not closed


class PrivateDirectory:
    """A new directory of mode 0700 for sockets and state, where paths are short enough for a socket."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        longest = MAX_SOCKET_PATH - len("/linkkit-sidecar-12345678/sidecar.sock")
        places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"]
        place = next((p for p in places if p and len(os.fsencode(p)) <= longest and os.access(p, os.W_OK | os.X_OK)), None)
        if place is None:
            raise ValueError(f"a socket's path has at most {MAX_SOCKET_PATH} bytes, and {places[0]} leaves none: set TMPDIR to a shorter path")
        self.path = Path(tempfile.mkdtemp(prefix="linkkit-sidecar-", dir=place))

    def remove(self) -> None:
        """Remove it, if it was this process that made it: a child by fork leaves it alone."""
        if os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)


class Process:
    """One server at a time, which can be started again. It is started when this is made.

    Args:
        name: What it is called in errors.
        directory: What is to be removed when it is closed.
        command: The subcommand with the arguments that make it what it is.
        args: Arguments of the user's, which come last and so win.
        binary: The command; None looks for it.
        log: A file that its log is added to, or an open one; None: warnings only, to a file in the directory.
        start_timeout: Seconds until its ready line must have come.
        stop_timeout: Seconds that it may take to stop in good order.
    """

    def __init__(
        self,
        name: str,
        directory: PrivateDirectory,
        command: Sequence[str],
        args: Sequence[str],
        *,
        binary: str | os.PathLike[str] | None,
        log: str | os.PathLike[str] | IO[Any] | None,
        start_timeout: float,
        stop_timeout: float,
    ) -> None:
        self._name = name
        self._directory = directory
        self._log: Path | IO[Any]
        if log is None:
            self._log = directory.path / "log"
            command = [*command, "--log-level", "warn"]
        else:
            self._log = Path(log).absolute() if isinstance(log, (str, os.PathLike)) else log
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._lock = threading.Lock()  # orders starting and stopping
        self._pid = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}
        try:
            self._command = [str(_binary.find_binary(binary)), *command, *args, "--stop-with-stdin"]
            self.start()
        except BaseException:
            directory.remove()
            raise

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it and wait for its ready line. Nothing happens when it runs."""
        self._own()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._release()
            self._spawn()
            _open.add(self)
            try:
                self.ready = self._await_ready()
            except BaseException:
                _open.discard(self)
                self._kill()
                raise

    @property
    def forked(self) -> bool:
        """Whether this is a child's copy of the object: the server is the parent's."""
        return os.getpid() != self._pid

    def stop(self) -> None:
        """Stop it in good order, by SIGKILL if that takes too long."""
        self._own()
        with self._lock:
            self._stop()

    def close(self) -> None:
        """Stop it, and remove the directory.

        In a child by fork, which has a copy of this object, nothing happens: the server stays the parent's.
        """
        if self.forked:
            return
        with self._lock:
            _open.discard(self)
            self._stop()
            self._directory.remove()

    def _stop(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(self._stop_timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        elif process is not None:
            _logger.warning("the %s had ended of itself, with exit code %d: %s", self._name, process.returncode, self._said() or "its log says why")
        self._release()

    def kill(self) -> None:
        """End it as a crash would."""
        self._own()
        with self._lock:
            if self._process is not None:
                self._kill()

    def _said(self) -> str:
        """Return the last lines of its log; empty when they went to a stream."""
        if not isinstance(self._log, Path):
            return ""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
                return b"\n".join(log.read().splitlines()[-_LAST_LINES:]).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _own(self) -> None:
        if self.forked:
            raise errors.ForkedError(f"the {self._name} was started before the process forked, and is the parent's")

    def _spawn(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name != _binary.VARIABLE}
        log = open(self._log, "ab") if isinstance(self._log, Path) else self._log  # noqa: SIM115  # closed below; who gave an open one closes it
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environ,
                start_new_session=True,  # Ctrl-C is for this program, which then stops the server when it has no more use for it
            )
        finally:
            if isinstance(self._log, Path):
                log.close()

    def _await_ready(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._start_timeout
        line = b""
        stdout = self._process.stdout.fileno()
        poll = select.poll()  # not select(): a program may have more than 1024 files open
        poll.register(stdout, select.POLLIN)
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise StartError(f"the {self._name} did not become ready within {self._start_timeout:g} s{self._explained()}")
            read = os.read(stdout, 4096)
            if not read:
                code = self._process.wait()
                raise StartError(f"the {self._name} ended while it started, with exit code {code}{self._explained()}")
            line += read
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _explained(self) -> str:
        if not isinstance(self._log, Path):
            return "; its log, in the stream that was given for it, says why"
        said = self._said()
        return f"; it said:\n{said}" if said else f", and said nothing in {self._log}"

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._release()

    def _release(self) -> None:
        """Give up the pipes of a server that has ended."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _leave_to_parent(self) -> None:
        """Close this child's copies of the pipes: else the server would last as long as the child. Nothing else of it is touched."""
        if self._process is not None:
            self._process.returncode = 0  # not this process's child: there is nothing to wait for
            self._release()


class StartError(errors.SidecarError):
    """A server did not start; the message has the last lines of its log."""

    advice = "Read what it said. A state directory serves one sidecar at a time."


def _close_all() -> None:
    for process in list(_open):
        process.close()


def _leave_all() -> None:
    for process in list(_open):
        process._leave_to_parent()
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_leave_all)
