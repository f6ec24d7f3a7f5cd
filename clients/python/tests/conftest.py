"""A real sandbox for all tests, and for each that wants one a real sidecar and devices of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from twin import BlockedClient

from linkkit_sidecar import Device, DeviceSecret, Endpoint, SidecarClient, TlsSettings
from linkkit_sidecar.sandbox.v1 import sandbox_pb2, sandbox_pb2_grpc

BINARY = os.environ.get("LINKKIT_SIDECAR_BINARY") or str(Path(__file__).parents[3] / "bin" / "linkkit-sidecar")
PRODUCT = "a1B2c3D4e5F"


class Process:
    """A running command, whose ready line was read."""

    def __init__(self, *args: str) -> None:
        self.args = args
        self.start()

    def start(self) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        self.process = subprocess.Popen([BINARY, *self.args], stdout=subprocess.PIPE, stderr=self.log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"{self.args} did not start: {self.said()}")
        self.ready: dict[str, Any] = json.loads(line)

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._reap()

    def _reap(self) -> None:
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


class Platform(Process):
    """The sandbox, with its console."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            "sandbox",
            "--state-dir",
            str(directory / "state"),
            *("--mqtt-address", "127.0.0.1:0", "--mqtts-address", "127.0.0.1:0", "--https-address", "127.0.0.1:0"),
            "--control-address",
            f"unix://{directory}/c.sock",
        )
        self.channel = grpc.insecure_channel(self.ready["control"], [("grpc.default_authority", "localhost")])
        self.console = sandbox_pb2_grpc.SandboxServiceStub(self.channel)
        self.ca_pem = Path(self.ready["ca_file"]).read_text()
        made = self.console.CreateProduct(sandbox_pb2.CreateProductRequest(product_key=PRODUCT, dynamic_registration=True), timeout=10)
        self.product_secret = made.product_secret
        self.count = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host="localhost", port=int(self.ready["mqtts"].rpartition(":")[2]))

    @property
    def tls(self) -> TlsSettings:
        return TlsSettings(ca_pem=self.ca_pem)

    def device(self, secret: bool = True) -> tuple[Device, DeviceSecret]:
        self.count += 1
        named = sandbox_pb2.Device(product_key=PRODUCT, device_name=f"dev-{self.count:03}")
        made = self.console.CreateDevice(sandbox_pb2.CreateDeviceRequest(device=named, generate_secret=secret), timeout=10)
        return Device(PRODUCT, named.device_name), DeviceSecret(made.device_secret)

    def named(self, device: Device) -> sandbox_pb2.Device:
        return sandbox_pb2.Device(product_key=device.product_key, device_name=device.device_name)

    def push(self, device: Device, topic: str, payload: bytes, qos: int = 1) -> Any:
        request = sandbox_pb2.PublishDownstreamRequest(device=self.named(device), topic=device.topic(topic), payload=payload, qos=qos)
        return self.console.PublishDownstream(request, timeout=10)

    def published(self, device: Device) -> list[bytes]:
        request = sandbox_pb2.ListMessagesRequest(device=self.named(device))
        return [one.payload for one in self.console.ListMessages(request, timeout=10).messages]

    def stop(self) -> None:
        self.channel.close()
        super().stop()


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    # A socket's path has at most 107 bytes, which pytest's own directories may exceed.
    made = Path(tempfile.mkdtemp(prefix="lks"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(directory: Path) -> Iterator[Platform]:
    (directory / "platform").mkdir()
    running = Platform(directory / "platform")
    yield running
    running.stop()


class Sidecar(Process):
    """A sidecar of one test."""

    def __init__(self, directory: Path, *args: str) -> None:
        self.address = f"unix://{directory}/s.sock"
        super().__init__("serve", "--listen", self.address, "--state-dir", str(directory / "state"), *args)


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    directory = Path(tempfile.mkdtemp(prefix="lks"))
    running = Sidecar(directory)
    yield running
    running.stop()
    shutil.rmtree(directory)


@pytest.fixture
def device(platform: Platform) -> tuple[Device, DeviceSecret]:
    return platform.device()


@pytest.fixture(params=[SidecarClient, BlockedClient], ids=["blocking", "asyncio"])
def make_client(request: pytest.FixtureRequest) -> Any:
    """The class of the blocking client, and the asyncio one made to look like it."""
    return request.param


@pytest.fixture
def client(make_client: Any, sidecar: Sidecar, platform: Platform, device: tuple[Device, DeviceSecret]) -> Iterator[SidecarClient]:
    """A client whose device is online."""
    with make_client(sidecar.address, device=device[0]) as made:
        made.connect(credential=device[1], endpoint=platform.endpoint, tls=platform.tls)
        yield made


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and t.name.startswith("linkkit-sidecar")]
    assert not left, f"threads that were not ended: {left}"
