"""python -m linkkit_sidecar.run changes nothing but what `linkkit` means."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from linkkit_sidecar.compat.linkkit import LinkKit

SOURCES = Path(__file__).parents[2] / "src"

SHOW = """
import json, sys, threading
from linkkit import linkkit
import linkkit.linkkit as again
import beside
print(json.dumps({
    "argv": sys.argv, "path": sys.path[:2], "name": __name__, "file": __file__, "spec": __spec__ and __spec__.name, "doc": __doc__,
    "package": __package__, "main": sys.modules["__main__"].__dict__ is globals(), "cached": "__cached__" in globals(),
    "flags": str(sys.flags), "hook": sys.excepthook is sys.__excepthook__, "threads": threading.active_count(),
    "ours": linkkit.LinkKit.__module__, "same": again is linkkit,
}))
"""


def run(*arguments: str, cwd: Path, options: tuple[str, ...] = (), ours: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, *(["-m", "linkkit_sidecar.run"] if ours else []), *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(SOURCES), **more}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("")
    file = tmp_path / "sub" / "app.py"
    file.write_text(SHOW)
    return file


@pytest.mark.parametrize("how", [("sub/app.py", "a", "--stored", "-m"), ("-m", "app", "--address", "x")])
def test_a_program_finds_the_same_around_it(program, tmp_path, how):
    cwd = tmp_path if how[0] != "-m" else program.parent
    plain, ours = (run(*how, cwd=cwd, ours=which) for which in (False, True))
    theirs, found = json.loads(plain.stdout), json.loads(ours.stdout)
    assert found.pop("ours") == LinkKit.__module__
    assert theirs.pop("ours") == "linkkit.linkkit"
    assert not found.pop("hook")  # it leaves our frames out
    assert theirs.pop("hook")
    assert found == theirs


def test_options_before_the_program_are_ours(program):
    done = run("--stored", "--address", "unix:///x", "--max-waiting", "5", "app.py", "--address", "y", cwd=program.parent)
    assert json.loads(done.stdout)["argv"] == ["app.py", "--address", "y"]


def test_the_interpreters_own_options_are_kept(program):
    done = run("app.py", cwd=program.parent, options=("-O", "-X", "utf8", "-W", "error"))
    assert "optimize=1" in json.loads(done.stdout)["flags"]
    assert "utf8_mode=1" in json.loads(done.stdout)["flags"]
    known = sys.version_info >= (3, 11)
    for ours in (True, False):  # with -P the program does not find what lies beside it
        assert run("app.py", cwd=program.parent, options=("-P",), ours=ours).returncode == (1 if known else 2)


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(7)",
        "import sys; sys.exit('words')",
        "raise SystemExit",
        "import os; os._exit(3)",
        "1 / 0",
        "import nowhere",
        "x = (",
        "raise KeyboardInterrupt",
    ],
)
def test_a_program_ends_as_it_does_by_itself(tmp_path, text):
    (tmp_path / "app.py").write_text(f"def f():\n    pass\n{text}\n")
    plain, ours = (run("app.py", cwd=tmp_path, ours=which) for which in (False, True))
    assert ours.returncode == plain.returncode
    assert ours.stderr.replace(f'"{tmp_path}/', '"') == plain.stderr.replace(f'"{tmp_path}/', '"')


def test_a_signal_ends_it(tmp_path):
    (tmp_path / "app.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    program = subprocess.Popen(
        [sys.executable, "-m", "linkkit_sidecar.run", "app.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"up\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(30) == -signal.SIGTERM
    program.stdout.close()


def test_threads_of_a_program_outlive_its_last_line(tmp_path):
    (tmp_path / "app.py").write_text(
        "import threading, time\nword = 'said'\ndef late():\n    time.sleep(0.3)\n    print(word)\nthreading.Thread(target=late).start()\n"
    )
    assert run("app.py", cwd=tmp_path).stdout == "said\n"


def test_a_directory_and_an_archive_run(program, tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "__main__.py").write_text("from linkkit import linkkit\nprint(linkkit.LinkKit.__module__, __name__)\n")
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.write(tmp_path / "dir" / "__main__.py", "__main__.py")
    for name in ("dir", "app.pyz"):
        assert run(name, cwd=tmp_path).stdout == f"{LinkKit.__module__} __main__\n", name


def test_what_is_missing_is_told(tmp_path):
    for arguments, says in (
        (("nowhere.py",), "there is no nowhere.py"),
        (("-m", "nowhere"), "No module named"),
        ((), "name a program to run"),
        (("--max-waiting", "0", "app.py"), "1 to 100000"),
        (("--unknown", "app.py"), "unrecognized arguments: --unknown"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert says in done.stderr, arguments
        assert "Traceback" not in done.stderr


def test_the_help_names_the_options(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for option in ("--address", "--stored", "--max-waiting", "--register-again", "-m MODULE"):
        assert option in done.stdout


def test_the_vendors_package_need_not_be_installed(tmp_path):
    (tmp_path / "app.py").write_text(
        "import sys\nfrom linkkit import linkkit\nimport importlib.util\n"
        "print('paho' in sys.modules, importlib.util.find_spec('linkkit.linkkit') is not None, importlib.util.find_spec('linkkit.h2client'))\n"
    )
    assert run("app.py", cwd=tmp_path).stdout == "False True None\n"


def test_messages_of_a_program_that_ends_at_once_go_out(tmp_path, platform, sidecar, device):
    (tmp_path / "app.py").write_text(
        f"""
import threading
from linkkit import linkkit
kit = linkkit.LinkKit("localhost", {device[0].product_key!r}, {device[0].device_name!r}, {device[1].secret!r})
kit.config_mqtt(port={platform.endpoint.port}, cadata={platform.ca_pem!r}, max_queued_message=0)
up = threading.Event()
kit.on_connect = lambda *values: up.set()
kit.connect_async()
up.wait(20)
for i in range(200):
    assert kit.publish_topic(kit.to_full_topic("user/update"), str(i))[0] == 0
"""
    )
    done = run("--address", sidecar.address, "app.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert platform.published(device[0]) == [str(i).encode() for i in range(200)]
