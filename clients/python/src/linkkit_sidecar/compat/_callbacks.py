"""The program's callbacks: properties to set them, and the thread that calls them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from ._log import Log

Function = Callable[..., Any]


class Callback:
    """A property that holds one of the program's functions; None, the default, is none."""

    def __init__(self, arguments: str, when: str) -> None:
        self.__doc__ = f"Called with ({arguments}) {when}"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, kit: Any, owner: type | None = None) -> Any:
        return self if kit is None else kit._functions.get(self.name)

    def __set__(self, kit: Any, function: Function | None) -> None:
        kit._functions[self.name] = function


class CallbackThread:
    """One thread that calls what it is given, in order. Its queue has no bound: a callback that blocks delays others and loses none.

    It starts with the first call and ends after `stop`, when all that was given before has been called.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._queue: queue.SimpleQueue[tuple[Function, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def put(self, function: Function, *args: Any) -> None:
        """Have a function called."""
        if self._thread is None:
            self._start()
        self._queue.put((function, args))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="linkkit-sidecar-callbacks", daemon=True)
                self._thread.start()

    def inside(self) -> bool:
        """Whether this is the thread."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the thread after what it was given. Inside a callback it does not wait for that."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        self._queue.put(None)
        if thread is not None and not self.inside():
            thread.join()

    def _run(self) -> None:
        while (called := self._queue.get()) is not None:
            function, args = called
            try:
                function(*args)
            except Exception:  # the program's; the next one is to be called all the same
                self._log.exception("a callback raised an exception")
