"""Run a program that is written for the vendor's SDK, unchanged, on the sidecar.

``python -m linkkit_sidecar.run app.py`` runs it as ``python app.py`` does, except that ``from linkkit import linkkit`` means
`linkkit_sidecar.compat.linkkit`, whether the vendor's package is installed or not.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import io
import os
import runpy
import sys
import types
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from .compat import configuration
from .compat import linkkit as ours

_OWN_FRAMES = (__file__, runpy.__file__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments say; the program's end is this one's."""
    own, rest = _split(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own)
    module: str | None = options.module
    if module is None and not rest:
        _parser().error("name a program to run: app.py, or -m MODULE")
    configuration.address = options.address
    configuration.stored = options.stored
    configuration.max_waiting = options.max_waiting
    configuration.register_again = options.register_again
    if options.address:
        os.environ["LINKKIT_SIDECAR_ADDRESS"] = options.address  # for programs that this one starts
    install()
    _hide_own_frames()
    if module is not None:
        _run_module(module, rest)
    else:
        _run_file(rest[0], rest[1:])


def install() -> None:
    """Make ``linkkit`` and ``linkkit.linkkit`` mean ours from now on."""
    package = types.ModuleType("linkkit", "The vendor's package, as linkkit_sidecar has it.")
    package.__spec__ = importlib.machinery.ModuleSpec("linkkit", None, origin=__file__, is_package=True)
    package.__path__ = []  # so that what else the vendor's package has is not there, rather than half of it
    package.__file__ = __file__
    vars(package)["name"] = "linkkit"
    vars(package)["linkkit"] = ours
    sys.modules["linkkit"] = package
    sys.modules["linkkit.linkkit"] = ours


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell our options from the program and its arguments, which begin with the first that is no option, or behind ``-m MODULE``."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        argument = arguments[at]
        at += 2 if argument in ("-m", "--address", "--max-waiting") else 1
        if argument.startswith("-m"):
            break
    return list(arguments[:at]), list(arguments[at:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m linkkit_sidecar.run",
        usage="%(prog)s [OPTIONS] (app.py | -m MODULE) [ARGUMENTS]",
        allow_abbrev=False,
        description="Run a program that is written for the vendor's SDK, unchanged, on linkkit-sidecar.",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="where the sidecar is, as unix:///PATH or HOST:PORT; default: LINKKIT_SIDECAR_ADDRESS, or unix:///run/linkkit-sidecar/sidecar.sock",
    )
    parser.add_argument(
        "--stored",
        action="store_true",
        help="take messages also while the device is offline: they are on the sidecar's disk until the platform has them",
    )
    parser.add_argument(
        "--max-waiting",
        type=_count,
        default=100_000,
        metavar="N",
        help="how many messages from the platform may wait in the sidecar for the program, 1 to 100000 (default)",
    )
    parser.add_argument(
        "--register-again",
        action="store_true",
        help="let the program register the device although the sidecar has a credential for it; by default that one is used",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module, as python -m does")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"{number}: give 1 to 100000")
    return number


def _run_file(path: str, rest: list[str]) -> None:
    if not os.path.exists(path):
        _fail(f"there is no {path}")
    sys.argv = [path, *rest]
    if os.path.isdir(path) or (not path.endswith((".py", ".pyw")) and _is_archive(path)):
        _leave_path()
        runpy.run_path(path, run_name="__main__")
        return
    whole = os.path.abspath(path)
    try:
        with io.open_code(whole) as file:
            code = compile(file.read(), whole, "exec")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    _leave_path(os.path.dirname(os.path.realpath(path)))
    # A module of its own that stays: threads of the program go on after its last line, and pickle and multiprocessing look it up.
    program = types.ModuleType("__main__")
    program.__file__ = whole
    program.__builtins__ = __builtins__  # type: ignore[attr-defined]
    program.__loader__ = importlib.machinery.SourceFileLoader("__main__", whole)
    program.__spec__ = None
    program.__cached__ = None  # type: ignore[attr-defined]
    sys.modules["__main__"] = program
    exec(code, vars(program))


def _run_module(name: str, rest: list[str]) -> None:
    sys.argv = [name, *rest]  # runpy puts the file's path in place of the name
    if not getattr(sys.flags, "safe_path", False) and "" not in sys.path[:1] and os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if error.__traceback__ is not None and _without_own(error.__traceback__) is None:  # the module itself is missing
            _fail(str(error))
        raise


def _leave_path(first: str | None = None) -> None:
    """Put in sys.path[0], where ``python -m`` has put the working directory, what ``python app.py`` puts there."""
    if getattr(sys.flags, "safe_path", False) or sys.flags.isolated:
        return
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path.pop(0)
    if first is not None:
        sys.path.insert(0, first)


def _is_archive(path: str) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


def _hide_own_frames() -> None:
    """Let the traceback of an uncaught exception begin with the program."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        left = _without_own(trace)
        if left is not None or isinstance(error, SyntaxError):
            trace = left
        shown(kind, error.with_traceback(trace), trace)

    sys.excepthook = hook


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and (trace.tb_frame.f_code.co_filename in _OWN_FRAMES or trace.tb_frame.f_code.co_filename.startswith("<frozen ")):
        trace = trace.tb_next
    return trace


def _fail(text: str) -> NoReturn:
    print(f"linkkit_sidecar.run: {text}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
