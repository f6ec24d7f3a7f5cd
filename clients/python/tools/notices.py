"""Write the licences and notices of all that is linked into the command: what a wheel that carries it must carry too.

Run from the repository's root, with GOARCH as for the build. It writes to standard output, and fails for a module that has no licence.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TEXTS = re.compile(r"(licen[sc]e|copying|notice|patents)(\.(txt|md))?|edl-v10", re.IGNORECASE)  # the last is what paho is taken under
MODULE = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}"


def main() -> None:
    linked = sorted(set(go("list", "-deps", "-f", MODULE, "./cmd/linkkit-sidecar").splitlines()) - {""})
    print("linkkit-sidecar is licensed under Apache-2.0. Linked into it are the following, under these terms.")
    show("The Go standard library", go("env", "GOVERSION"), [Path(go("env", "GOROOT")) / "LICENSE"])
    for module in linked:
        name, version, directory = module.split("\t")
        texts = sorted(path for path in Path(directory).iterdir() if TEXTS.fullmatch(path.name))
        if not any(path.name.lower().startswith("licen") for path in texts):
            sys.exit(f"{name} has no licence in {directory}")
        show(name, version, texts)


def show(name: str, version: str, texts: list[Path]) -> None:
    print(f"\n{'=' * 79}\n{name} {version}")
    for path in texts:
        print(f"\n-- {path.name}\n\n{path.read_text(encoding='utf-8').strip()}")


def go(*args: str) -> str:
    return subprocess.run(["go", *args], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
