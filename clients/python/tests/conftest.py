"""A real sandbox for all tests, and for each that wants one a real sidecar and devices of its own."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import newuser
import pytest
from fake import FakeSidecar
from twin import BlockedClient

from linkkit_sidecar import Device, DeviceSecret, Sandbox, Sidecar, SidecarClient
from linkkit_sidecar.sandbox.v1 import sandbox_pb2, sandbox_pb2_grpc

pytest_plugins = ["pytester", "linkkit_sidecar.pytest_plugin"]

KEPT_MESSAGES = 100_000  # more than any test publishes from one device

ROOT = Path(__file__).parents[3]
os.environ.setdefault("LINKKIT_SIDECAR_BINARY", str(ROOT / "bin" / "linkkit-sidecar"))
os.environ["PYTHONPATH"] = str(ROOT / "clients" / "python" / "src")  # for programs that tests start


class Platform(Sandbox):
    """The sandbox, with its console as it is on the wire."""

    def __init__(self) -> None:
        super().__init__(args=["--keep-messages", str(KEPT_MESSAGES)])
        self.console: sandbox_pb2_grpc.SandboxServiceStub = self._stub
        self.ca_pem = self.tls.ca_pem

    def port(self, door: str) -> int:
        """Where it listens: "mqtt", without TLS, "mqtts" or "https"."""
        return int(self._process.ready[door].rpartition(":")[2])

    def device(self, secret: bool = True) -> tuple[Device, DeviceSecret]:
        made = self.new_device(generate_secret=secret)
        return made.device, made.secret or DeviceSecret("")

    def named(self, device: Device) -> sandbox_pb2.Device:
        return sandbox_pb2.Device(product_key=device.product_key, device_name=device.device_name)

    def push(self, device: Device, topic: str, payload: bytes, qos: int = 1) -> Any:
        request = sandbox_pb2.PublishDownstreamRequest(device=self.named(device), topic=device.topic(topic), payload=payload, qos=qos)
        return self.console.PublishDownstream(request, timeout=10)

    def published(self, device: Device) -> list[bytes]:
        """Everything that a device published; for a ledger, so it must not have lost the oldest."""
        messages = self.list_messages(device)
        assert not messages or messages[0].number == 1, f"the sandbox keeps {KEPT_MESSAGES} messages, which is too few"
        return [one.payload for one in messages]


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    """A sidecar of one test, which knows no device."""
    with Sidecar() as running:
        yield running


@pytest.fixture
def fake(short_directory: Path) -> Iterator[FakeSidecar]:
    """A sidecar that does what the test tells it."""
    made = FakeSidecar(f"unix://{short_directory}/s.sock")
    yield made
    made.stop()


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


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory for sockets: their paths have at most 107 bytes, which those of pytest's own directories may exceed."""
    with tempfile.TemporaryDirectory(prefix="lks") as made:
        yield Path(made)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What `make wheel` builds: the source, the pure wheel and the one with the command."""
    return newuser.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def new_user(built: list[Path], tmp_path_factory: pytest.TempPathFactory) -> newuser.User:
    """Somebody who has installed the wheel with the command, and nothing else."""
    return newuser.User(tmp_path_factory.mktemp("user"), [path for path in built if "manylinux" in path.name])
