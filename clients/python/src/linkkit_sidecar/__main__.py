"""``python -m linkkit_sidecar``: the command linkkit-sidecar, in place of this process."""

from __future__ import annotations

import os
import sys

from ._binary import BinaryNotFoundError, find_binary


def main() -> None:
    """Become the command, with this program's arguments."""
    try:
        binary = find_binary()
    except BinaryNotFoundError as error:
        sys.exit(f"linkkit-sidecar: {error}")
    os.execv(binary, [str(binary), *sys.argv[1:]])


if __name__ == "__main__":
    main()
