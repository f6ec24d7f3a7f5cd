"""A sidecar of this program's own: how it is found, started, shared with children, and ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar import _binary, aio
from linkkit_sidecar._process import MAX_SOCKET_PATH


def test_starts_and_leaves_nothing_behind():
    with lk.Sidecar() as sidecar:
        directory = Path(sidecar.address.removeprefix("unix://")).parent
        assert directory.stat().st_mode & 0o777 == 0o700
        with sidecar.client(timeout=5) as client:
            client.wait_ready(5)
            assert client.address == sidecar.address
            assert list(client.list_devices()) == []
        assert aio.SidecarClient(sidecar.address).address == sidecar.address
        assert repr(sidecar) == f"Sidecar({sidecar.address!r})"
        pid = sidecar.pid
        assert pid
    assert not directory.exists()
    assert gone(pid)
    assert sidecar.pid is None
    sidecar.close()


def test_keeps_a_state_directory(tmp_path, linkkit_platform):
    created = linkkit_platform.new_device()
    log = tmp_path / "log"
    with lk.Sidecar(tmp_path / "state", ca_file=linkkit_platform.ca_file, log=log) as sidecar, sidecar.client() as client:
        client.connect(created.device, credential=created.secret, endpoint=linkkit_platform.endpoint)
    assert "the sidecar has stopped" in log.read_text()
    with lk.Sidecar(str(tmp_path / "state"), ca_file=linkkit_platform.ca_file, log=str(log)) as sidecar, sidecar.client() as client:
        assert [one.device for one in client.list_devices()] == [created.device]
        wait_for(lambda: client.get_device().online)
    assert log.read_text().count("the sidecar has stopped") == 2


def test_takes_a_configuration_and_arguments(tmp_path, linkkit_platform, short_directory):
    created = linkkit_platform.new_device()
    (tmp_path / "secret").write_text(created.secret.secret)
    (tmp_path / "secret").chmod(0o600)
    config = tmp_path / "config.yaml"
    config.write_text(
        textwrap.dedent(f"""\
            publish_rate: 7
            devices:
              - product_key: {created.device.product_key}
                device_name: {created.device.device_name}
                device_secret_file: {tmp_path}/secret
                endpoint: {{host: localhost, port: {linkkit_platform.endpoint.port}}}
            """)
    )
    address = f"unix://{short_directory}/s.sock"
    with lk.Sidecar(address=address, config=config, ca_file=linkkit_platform.ca_file, args=["--publish-bytes-rate", "70000"]) as sidecar:
        assert sidecar.address == address
        with sidecar.client(device=created.device) as client:
            wait_for(lambda: [one.device for one in client.list_devices() if one.online] == [created.device])
            assert client.get_device().queue.max_messages_per_second == 7
            assert client.get_device().queue.max_bytes_per_second == 70000


def test_comes_back_after_a_crash_or_a_stop_with_what_it_had(linkkit_platform):
    created = linkkit_platform.new_device()
    with lk.Sidecar(ca_file=linkkit_platform.ca_file) as sidecar, sidecar.client() as client:
        client.connect(created.device, credential=created.secret, endpoint=linkkit_platform.endpoint)
        sidecar.kill()
        assert sidecar.pid is None
        sidecar.start()
        first = sidecar.pid
        sidecar.start()
        assert sidecar.pid == first
        wait_for(lambda: client.get_device().online)
        sidecar.stop()
        assert sidecar.pid is None
        sidecar.start()
        wait_for(lambda: client.get_device().online)


def test_a_state_directory_serves_one_sidecar(tmp_path):
    with lk.Sidecar(tmp_path / "state") as sidecar:
        with pytest.raises(lk.StartError) as raised:
            lk.Sidecar(tmp_path / "state")
        assert str(sidecar.pid) in str(raised.value)
        assert "exit code 2" in str(raised.value)
        assert str(tmp_path / "state") in str(raised.value)
        assert "one sidecar" in raised.value.advice


def test_says_where_it_looked_for_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(_binary.VARIABLE)
    monkeypatch.setattr(_binary, "BUNDLED", tmp_path / "_bin" / "linkkit-sidecar")
    with pytest.raises(lk.BinaryNotFoundError) as raised:
        lk.Sidecar()
    for place in (_binary.VARIABLE, str(tmp_path / "_bin"), f"PATH ({tmp_path})"):
        assert place in str(raised.value)
    monkeypatch.setenv(_binary.VARIABLE, str(tmp_path / "other"))
    with pytest.raises(lk.BinaryNotFoundError, match=rf"{_binary.VARIABLE} names {tmp_path}/other"):
        lk.Sidecar()
    with pytest.raises(lk.BinaryNotFoundError, match="the argument binary names"):
        lk.Sidecar(binary=tmp_path)


def test_the_command_is_the_named_one_the_bundled_one_or_that_on_the_path(monkeypatch, tmp_path):
    for name in ("argument", "variable", "bundled", "path"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "linkkit-sidecar").write_text("#!/bin/sh\n")
        (tmp_path / name / "linkkit-sidecar").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv(_binary.VARIABLE, str(tmp_path / "variable" / "linkkit-sidecar"))
    monkeypatch.setattr(_binary, "BUNDLED", tmp_path / "bundled" / "linkkit-sidecar")
    assert _binary.find_binary(tmp_path / "argument" / "linkkit-sidecar").parent.name == "argument"
    assert _binary.find_binary().parent.name == "variable"
    monkeypatch.delenv(_binary.VARIABLE)
    assert _binary.find_binary().parent.name == "bundled"
    (tmp_path / "bundled" / "linkkit-sidecar").chmod(0o644)
    assert _binary.find_binary().parent.name == "path"


@pytest.mark.parametrize("log", ["private", "stream"])
def test_a_start_that_fails_is_explained(tmp_path, log):
    command = script(tmp_path, 'echo "something is wrong" >&2; exit 3')
    with (tmp_path / "log").open("wb") as stream, pytest.raises(lk.StartError) as raised:
        lk.Sidecar(binary=command, log=stream if log == "stream" else None)
    assert "exit code 3" in str(raised.value)
    if log == "private":
        assert "something is wrong" in str(raised.value)
    else:
        assert "stream" in str(raised.value)
        assert (tmp_path / "log").read_text() == "something is wrong\n"


def test_a_start_is_not_waited_for_without_end(tmp_path):
    command = script(tmp_path, 'echo $$ > "$0.pid"; echo "I am slow" >&2; exec sleep 60')
    with pytest.raises(lk.StartError, match=r"did not become ready within 0\.5 s(.|\n)*I am slow"):
        lk.Sidecar(binary=command, start_timeout=0.5)
    assert gone(int(Path(f"{command}.pid").read_text()))


def test_one_that_does_not_stop_is_killed(tmp_path):
    command = script(tmp_path, """trap '' TERM; echo '{"address": "unix:///nowhere"}'; while :; do sleep 0.1; done""")
    sidecar = lk.Sidecar(binary=command, stop_timeout=0.3)
    pid = sidecar.pid
    assert pid
    began = time.monotonic()
    sidecar.close()
    assert 0.3 <= time.monotonic() - began < 10
    assert gone(pid)


def test_an_end_of_its_own_is_not_silent(tmp_path, caplog):
    command = script(tmp_path, """echo '{"address": "unix:///nowhere"}'; echo "out of luck" >&2; exit 4""")
    sidecar = lk.Sidecar(binary=command)
    wait_for(lambda: sidecar.pid is None)
    sidecar.close()
    assert "exit code 4" in caplog.text
    assert "out of luck" in caplog.text


def test_a_socket_has_a_path_that_fits(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    with lk.Sidecar() as sidecar:
        assert len(sidecar.address.removeprefix("unix://")) <= MAX_SOCKET_PATH
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match="set TMPDIR"):
        lk.Sidecar()
    with pytest.raises(ValueError, match="107 bytes"):
        lk.Sidecar(address="unix:///" + "x" * MAX_SOCKET_PATH)


def test_ends_with_a_program_that_is_killed():
    with Program("signal.pause()") as (process, pid):
        process.kill()
        process.wait()
        wait_for(lambda: gone(pid))


def test_ends_with_a_program_that_is_killed_though_its_child_lives_on():
    with Program("print(os.fork() or signal.pause(), flush=True); signal.pause()") as (process, pid):
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            wait_for(lambda: gone(pid))
            assert not gone(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_ends_with_a_program_that_forgets_it():
    with Program("") as (process, pid):
        assert process.wait(30) == 0
        assert gone(pid)
        assert not Path(process.directory).exists()


def test_outlives_the_thread_that_started_it_and_a_ctrl_c():
    code = """
        thread = threading.Thread(target=lambda: globals().update(sidecar=lk.Sidecar()))
        thread.start()
        thread.join()
        signal.signal(signal.SIGINT, lambda *_: None)
        print(sidecar.pid, sidecar.address, flush=True)
        sys.stdin.readline()
        print(sidecar.pid, flush=True)
    """
    process = python(code, start_new_session=True)
    pid = int(process.stdout.readline().split()[0])
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate("\n", timeout=30)[0] == f"{pid}\n"
    assert process.returncode == 0
    assert gone(pid)


def test_a_child_by_fork_leaves_it_to_the_parent():
    code = """
        sidecar, sandbox = lk.Sidecar(), lk.Sandbox()
        child = os.fork()
        if child == 0:
            sidecar.close()
            sandbox.close()
            try:
                sidecar.kill()
            except lk.ForkedError:
                sys.exit(7)  # by way of atexit
            sys.exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with sidecar.client() as client:
            assert list(client.list_devices()) == []
        assert len(sandbox.list_devices()) == 0
        sandbox.close()
        sidecar.close()
        print("good")
    """
    process = python(code)
    out, _ = process.communicate(timeout=60)
    assert out == "good\n"
    assert process.returncode == 0


def test_may_be_closed_while_another_thread_starts_it():
    sidecar = lk.Sidecar()
    stop = threading.Event()

    def restart() -> None:
        while not stop.is_set():
            sidecar.kill()
            sidecar.start()

    thread = threading.Thread(target=restart)
    thread.start()
    time.sleep(0.3)
    stop.set()
    thread.join()
    sidecar.close()
    assert sidecar.pid is None


def test_the_module_is_the_command():
    process = subprocess.run([sys.executable, "-m", "linkkit_sidecar", "version", "--output", "json"], capture_output=True, text=True, check=True)
    assert '"version":' in process.stdout
    process = subprocess.run([sys.executable, "-m", "linkkit_sidecar", "nonsense"], capture_output=True, text=True)
    assert process.returncode == 2
    assert "there is no command" in process.stderr
    nowhere = {**os.environ, _binary.VARIABLE: "/nowhere/linkkit-sidecar"}
    process = subprocess.run([sys.executable, "-m", "linkkit_sidecar"], capture_output=True, text=True, env=nowhere)
    assert process.returncode == 1
    assert "/nowhere/linkkit-sidecar" in process.stderr


def python(code, **how):
    """Start a program that has imported what it needs."""
    head = "import os, signal, sys, threading\nimport linkkit_sidecar as lk\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how
    )


class Program:
    """A program with a sidecar: the process, and the sidecar's process id."""

    def __init__(self, code):
        self.code = code

    def __enter__(self):
        self.process = python("sidecar = lk.Sidecar()\nprint(sidecar.pid, sidecar.address, flush=True)\n" + self.code)
        pid, address = self.process.stdout.readline().split()
        self.process.directory = os.path.dirname(address.removeprefix("unix://"))
        return self.process, int(pid)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.process.directory, ignore_errors=True)  # one that was killed leaves it behind


def script(directory, text):
    path = directory / "linkkit-sidecar"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def gone(pid):
    """Whether the process has ended; who has lost its parent may be left as a zombie by a container's first process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(what, within=30):
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
