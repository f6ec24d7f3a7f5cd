"""Run the client's tests with the oldest and the newest Python that this machine has, each in an environment of its own.

The oldest has the oldest dependencies that pyproject.toml permits, the newest the newest. Environments are .venv-VERSION-oldest and
.venv-VERSION-newest in the repository's root, made anew when their requirements change. The two run side by side, and leave out what is no
other on another Python: what is built, and what compares with the vendor's SDK. Further arguments are pytest's.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
SUPPORTED = range(10, 15)  # of Python 3; newer ones are looked for too
ONCE = (
    "--ignore=tests/test_wheel.py",
    "--ignore=tests/test_examples.py",
    "--ignore=tests/test_readme.py",
    "--ignore=tests/compat/test_api.py",
    "--ignore=tests/compat/test_blocked.py",
    "--ignore=tests/compat/test_docs.py",
    "--ignore=tests/compat/test_programs.py",
    "--deselect=tests/compat/test_run.py::test_a_program_finds_the_same_around_it",
)
ABOUT = "import platform, ensurepip, venv; print(platform.python_version())"


def main() -> None:
    found = {minor: there for minor in range(SUPPORTED.start, SUPPORTED.stop + 5) if (there := find(minor))}
    if not found:
        sys.exit("there is no Python 3.10 or newer, neither on PATH nor in pyenv's directory")
    missing = [f"3.{minor}" for minor in SUPPORTED if minor not in found]
    print(f"Tested with Python {platform.python_version()}. Found: {', '.join(version for version, _ in found.values())}.", end=" ")
    print(f"Not found, so not tested: {', '.join(missing) or 'none'}.", flush=True)
    runs = [begin(*found[min(found)], "oldest"), begin(*found[max(found)], "newest")]
    failed = False
    for about, run in runs:
        said, _ = run.communicate()
        print(f"\n{about}:\n{said}", flush=True)
        failed = failed or run.returncode != 0
    if failed:
        sys.exit("the tests failed, see above")


def begin(version: str, interpreter: Path, age: str) -> tuple[str, subprocess.Popen[str]]:
    """Start the tests on a Python, and say which it is, with what."""
    python = environment(f"{version.rpartition('.')[0]}-{age}", version, interpreter, HERE / f"requirements-{age}.txt")
    frozen = subprocess.run([python, "-m", "pip", "freeze", "--disable-pip-version-check"], check=True, capture_output=True, text=True)
    with_what = [p for p in frozen.stdout.split() if p.startswith(("grpcio", "protobuf", "google"))]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *ONCE, *sys.argv[1:]]
    run = subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": "src"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return f"Python {version} with {', '.join(with_what)}", run


def find(minor: int) -> tuple[str, Path] | None:
    """Find the version and the path of a Python 3 that can make environments."""
    named = shutil.which(f"python3.{minor}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = ([Path(named)] if named else []) + sorted(pyenv.glob(f"3.{minor}.*/bin/python"), reverse=True)
    for place in places:
        # A shim of pyenv's is on PATH also for a version that is not switched on; such fails.
        asked = subprocess.run([place, "-c", ABOUT], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(f"3.{minor}."):
            return asked.stdout.strip(), place
    return None


def environment(name: str, version: str, interpreter: Path, requirements: Path) -> Path:
    """Make the environment unless it is there and was made of the same, and return its Python."""
    made = ROOT / f".venv-{name}"
    stamp = made / "installed"
    of = "\n".join([version, str(interpreter), requirements.read_text(), (HERE / "requirements-test.txt").read_text()])
    if not stamp.exists() or stamp.read_text() != of:
        subprocess.run([interpreter, "-m", "venv", "--clear", made], check=True)
        subprocess.run([made / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements], check=True)
        stamp.write_text(of)
    return made / "bin" / "python"


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} failed with {error.returncode}")
