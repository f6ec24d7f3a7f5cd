"""Fail for each method of the package's public classes that no test called. It reads what `coverage json` writes, from standard input."""

from __future__ import annotations

import json
import sys

import linkkit_sidecar
from linkkit_sidecar import aio, sandbox


def main() -> None:
    public = {name for module in (linkkit_sidecar, aio, sandbox) for name in module.__all__}
    called: list[str] = []
    uncalled: list[str] = []
    for path, told in json.load(sys.stdin)["files"].items():
        for name, function in told["functions"].items():
            kind, _, method = name.rpartition(".")
            if kind in public and not method.startswith("_") and function["summary"]["num_statements"]:
                (called if function["executed_lines"] else uncalled).append(f"{path}: {name}")
    if uncalled:
        sys.exit("no test calls\n" + "\n".join(uncalled))
    if len(called) < 60:
        sys.exit(f"only {len(called)} methods were looked at: is this what coverage has measured?")


if __name__ == "__main__":
    main()
