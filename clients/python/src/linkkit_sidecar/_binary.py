"""Where the command linkkit-sidecar is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAME = "linkkit-sidecar"
VARIABLE = "LINKKIT_SIDECAR_BINARY"
BUNDLED = Path(__file__).parent / "_bin" / NAME


class BinaryNotFoundError(FileNotFoundError):
    """The command linkkit-sidecar is in none of the places where it may be; the message names them."""


def find_binary(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the command: `given`, what LINKKIT_SIDECAR_BINARY names, the one that came with this package, or the first on PATH.

    Who names one wants that one: the next places are looked at only when none is named.

    Raises:
        BinaryNotFoundError: There is none.
    """
    for named, by in ((given, "the argument binary"), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            path = Path(named)
            if not _runs(path):
                raise BinaryNotFoundError(f"{by} names {path}, which is no file that can be run")
            return path.absolute()
    if _runs(BUNDLED):
        return BUNDLED
    found = shutil.which(NAME)
    if found:
        return Path(found).absolute()
    raise BinaryNotFoundError(
        f"there is no {NAME}: {VARIABLE} is not set, {BUNDLED} does not exist (the wheel for your platform carries it), "
        f"and it is not on PATH ({os.environ.get('PATH', '')}). Install that wheel, or build the command and name it"
    )


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
