"""Every program in examples/, as a new user runs it beside `linkkit-sidecar dev`."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar.sandbox import CallOutcome, Console, Downstream

EXAMPLES = Path(__file__).parents[1] / "examples"
TESTED = {"telemetry.py", "commands.py", "calls.py", "watch.py", "together.py", "enrol.py"}


class Program:
    """An example that runs until it is interrupted."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip("\n"))
                self.more.notify_all()

    def wait_for(self, text, within=30):
        with self.more:
            assert self.more.wait_for(lambda: any(text in line for line in self.lines), within), f"no {text!r} in {self.lines}"

    def end(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.lines
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()


class Desk:
    """`linkkit-sidecar dev`, and programs beside it."""

    def __init__(self, user, directory):
        self.user = user
        self.started = []
        self.address = f"unix://{directory}/sidecar.sock"
        self.dev = user.start("linkkit-sidecar", "dev", "--dev-dir", directory, "--kick-after", "0")
        self.reader = threading.Thread(target=self.dev.stdout.read)
        self.reader.start()
        self.console = Console(f"unix://{directory}/platform.sock")
        self.client = lk.SidecarClient(self.address)
        try:
            wait_for(self.online)
        except BaseException:
            self.dev.kill()
            raise
        self.device = self.client.get_device().device

    def online(self):
        return [one for one in self.client.list_devices() if one.online]

    def start(self, name, *args):
        program = Program(self.user.start("python", "-W", "error", str(EXAMPLES / name), *args, LINKKIT_SIDECAR_ADDRESS=self.address))
        self.started.append(program)
        return program

    def run(self, name, *args):
        return self.user.run("python", "-W", "error", str(EXAMPLES / name), *args, LINKKIT_SIDECAR_ADDRESS=self.address)

    def push(self, payload):
        return self.console.publish_downstream(self.device, self.device.topic("user/get"), payload)

    def close(self):
        for program in self.started:
            program.close()
        self.client.close()
        self.console.close()
        self.dev.send_signal(signal.SIGINT)
        assert self.dev.wait(30) == 0
        self.reader.join()
        self.dev.stdout.close()


@pytest.fixture
def desk(new_user):
    with tempfile.TemporaryDirectory(prefix="lks") as directory:
        made = Desk(new_user, directory)
        yield made
        made.close()


def test_each_example_has_a_test():
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED
    for name in TESTED:
        assert f'"{name}"' in Path(__file__).read_text().partition("class Program")[2]


def test_telemetry(desk):
    said = desk.run("telemetry.py", "25")
    assert "25 readings" in said
    wait_for(lambda: len(desk.console.list_messages(desk.device, topic_filter="/+/+/user/update")) >= 25)


def test_commands_and_those_from_before(desk):
    program = desk.start("commands.py")
    program.wait_for("commands on")
    desk.push('{"on": true}')
    program.wait_for("done: {'on': True}")
    program.end()
    desk.push('{"busy": true}')
    desk.push("junk")
    again = desk.start("commands.py")
    again.wait_for("later: {'busy': True}")
    again.wait_for("done: {'busy': True}")
    again.wait_for("dropped: b'junk'")
    again.end()


def test_calls(desk):
    program = desk.start("calls.py")
    program.wait_for("answering for")
    result = desk.console.call_device(desk.device, "what time is it?")
    assert result.outcome is CallOutcome.ANSWERED
    assert b'"asked": "what time is it?"' in result.payload
    program.end()


def test_watch_goes_on_where_it_was(desk):
    place = desk.user.home / "place"
    program = desk.start("watch.py", str(place))
    program.wait_for(f"{desk.device} is online")
    desk.console.kick_device(desk.device)
    program.wait_for("Lost, CLOSED_BY_SERVER")
    program.wait_for("Online")
    program.end()
    desk.console.disable_device(desk.device)
    wait_for(lambda: not desk.online())
    again = desk.start("watch.py", str(place))
    again.wait_for("refused")
    assert any("Lost" in line for line in again.lines)
    again.end()


def test_together(desk):
    program = desk.start("together.py")
    program.wait_for("everything runs")
    assert desk.push("go") is Downstream.SENT
    program.wait_for("command: go")
    assert desk.console.call_device(desk.device, "hm").payload == b"echo: hm"
    program.wait_for("event: Snapshot")
    before = len(desk.console.list_messages(desk.device, topic_filter="/+/+/user/update"))
    wait_for(lambda: len(desk.console.list_messages(desk.device, topic_filter="/+/+/user/update")) > before)
    program.end()


def test_enrol(desk):
    device = lk.Device(desk.device.product_key, "new")
    desk.console.create_device(device, generate_secret=False)
    secret = desk.user.home / "secret"
    secret.write_text("PsSecret01234567\n")
    endpoint = desk.client.get_device(desk.device).endpoint
    said = desk.run("enrol.py", str(device), str(secret), endpoint)
    assert "registered" in said
    assert f"{device} is online" in said
    assert "it was registered before" in desk.run("enrol.py", str(device), str(secret), endpoint)
    assert [m.payload for m in desk.console.list_messages(device)] == [b"hello", b"hello"]
    desk.console.create_device(lk.Device(device.product_key, "other"), generate_secret=False)
    secret.write_text("wrong")
    with pytest.raises(AssertionError, match="the platform refused"):
        desk.run("enrol.py", f"{device.product_key}/other", str(secret), endpoint)


def wait_for(what, within=30):
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
