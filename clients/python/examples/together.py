"""All in one asyncio program: telemetry, commands, calls and events of a device. Ctrl-C ends it.

Usage: python together.py
"""

import asyncio
import contextlib
import time

from linkkit_sidecar import Assurance, Call, Delivery, Device
from linkkit_sidecar.aio import SidecarClient


async def tell_temperature(client: SidecarClient, device: Device) -> None:
    """Publish a reading each second, whether the device is online or not."""
    async with client.publisher(device=device) as publisher:
        while True:
            receipt = await publisher.publish(device.topic("user/update"), f"{time.time()}", assurance=Assurance.STORED, ttl=3600)
            await receipt
            await asyncio.sleep(1)


async def tell_events(client: SidecarClient) -> None:
    """Print what happens."""
    async with client.events() as events:
        async for event in events:
            print("event:", type(event).__name__, flush=True)


async def handle(delivery: Delivery) -> None:
    """Deal with a command."""
    print("command:", delivery.payload.decode(), flush=True)


async def main() -> None:
    """Do all of it until it is interrupted."""
    async with SidecarClient() as client:
        device = (await anext(client.list_devices())).device

        @client.on_call(device=device)
        async def answer(call: Call) -> bytes:
            return b"echo: " + call.payload

        async with client.consume("together", handle, filters=[device.topic("user/get")], device=device) as commands:
            await asyncio.gather(answer.wait_granted(30), commands.wait_granted(30))
            print("everything runs for", device, flush=True)
            await asyncio.gather(tell_temperature(client, device), tell_events(client), answer.wait(), commands.wait())


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
