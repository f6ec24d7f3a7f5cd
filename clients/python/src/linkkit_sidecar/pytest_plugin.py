"""Fixtures for pytest: a platform, a device, and a client whose device is online.

They are there wherever this package is installed::

    def test_tells_the_temperature(linkkit_client, linkkit_device, linkkit_platform):
        linkkit_client.publish(linkkit_device.topic("user/update"), "21")
        assert linkkit_platform.list_messages(linkkit_device)[0].payload == b"21"

The platform and the sidecar start once, when a test first asks for them; each test has a device of its own. Override `linkkit_sidecar_args`
or `linkkit_platform_args` in a conftest.py to start them with further arguments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from linkkit_sidecar.client import SidecarClient
from linkkit_sidecar.models import Device, DeviceSecret
from linkkit_sidecar.sandbox import CreatedDevice, Sandbox
from linkkit_sidecar.sidecar import Sidecar

if TYPE_CHECKING:
    from linkkit_sidecar import aio

try:
    import pytest_asyncio
except ImportError:  # then the fixtures of async tests are those of whatever else runs such tests
    _async_fixture: Any = pytest.fixture
else:
    _async_fixture = pytest_asyncio.fixture


@pytest.fixture(scope="session")
def linkkit_platform_args() -> Sequence[str]:
    """Further arguments of ``linkkit-sidecar sandbox``: none."""
    return ()


@pytest.fixture(scope="session")
def linkkit_sidecar_args() -> Sequence[str]:
    """Further arguments of ``linkkit-sidecar serve``: none."""
    return ()


@pytest.fixture(scope="session")
def linkkit_platform(linkkit_platform_args: Sequence[str]) -> Iterator[Sandbox]:
    """The platform, a `Sandbox`, one for all tests."""
    with Sandbox(args=linkkit_platform_args) as platform:
        yield platform


@pytest.fixture(scope="session")
def linkkit_sidecar(linkkit_platform: Sandbox, linkkit_sidecar_args: Sequence[str]) -> Iterator[Sidecar]:
    """The sidecar, one for all tests; it trusts the platform. A test that kills it need not start it again."""
    with Sidecar(ca_file=linkkit_platform.ca_file, args=linkkit_sidecar_args) as sidecar:
        yield sidecar


@pytest.fixture
def linkkit_created(linkkit_platform: Sandbox) -> Iterator[CreatedDevice]:
    """A new device of the test's own and its secret. It is deleted, and all faults are cleared, when the test ends."""
    created = linkkit_platform.new_device()
    yield created
    linkkit_platform.clear_faults()
    if any(one.device == created.device for one in linkkit_platform.list_devices(created.device.product_key)):
        linkkit_platform.delete_device(created.device)


@pytest.fixture
def linkkit_device(linkkit_created: CreatedDevice) -> Device:
    """The test's device."""
    return linkkit_created.device


@pytest.fixture
def linkkit_credential(linkkit_created: CreatedDevice) -> DeviceSecret:
    """The secret of the test's device, for a test that connects it itself."""
    assert linkkit_created.secret is not None
    return linkkit_created.secret


@pytest.fixture
def linkkit_connected(linkkit_sidecar: Sidecar, linkkit_platform: Sandbox, linkkit_device: Device, linkkit_credential: DeviceSecret) -> Iterator[Device]:
    """The test's device, online. The sidecar forgets it when the test ends."""
    linkkit_sidecar.start()
    with linkkit_sidecar.client(device=linkkit_device) as client:
        client.connect(credential=linkkit_credential, endpoint=linkkit_platform.endpoint)
    yield linkkit_device
    linkkit_sidecar.start()
    with linkkit_sidecar.client() as client:
        if any(one.device == linkkit_device for one in client.list_devices()):
            client.forget_device(linkkit_device, force=True)


@pytest.fixture
def linkkit_client(linkkit_sidecar: Sidecar, linkkit_connected: Device) -> Iterator[SidecarClient]:
    """A blocking client whose device is the test's, and online."""
    with linkkit_sidecar.client(device=linkkit_connected) as client:
        yield client


@_async_fixture  # type: ignore[untyped-decorator]  # which one it is depends on what is installed
async def linkkit_aio_client(linkkit_sidecar: Sidecar, linkkit_connected: Device) -> AsyncIterator[aio.SidecarClient]:
    """The same for asyncio. It needs pytest-asyncio, or another plugin that runs asynchronous fixtures."""
    from linkkit_sidecar.aio import SidecarClient as AioClient

    async with AioClient(linkkit_sidecar.address, device=linkkit_connected) as client:
        yield client
