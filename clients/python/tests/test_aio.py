"""What only the asyncio client has: coroutines as handlers, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import gc

import pytest
import pytest_asyncio

import linkkit_sidecar as lk
from linkkit_sidecar import aio
from linkkit_sidecar.sandbox.v1 import sandbox_pb2


@pytest_asyncio.fixture
async def client(sidecar, platform, device):
    async with aio.SidecarClient(sidecar.address, device=device[0]) as made:
        await made.connect(credential=device[1], endpoint=platform.endpoint, tls=platform.tls)
        yield made
    left = [t for t in asyncio.all_tasks() if t.get_name().startswith("linkkit-sidecar")]
    assert not left


async def push(platform, device, payload):
    return await asyncio.to_thread(platform.push, device, "user/get", payload)


async def test_waiting_for_an_item_can_be_cancelled_and_loses_none(client, platform, device):
    async with client.messages(device[0].topic("user/get")) as messages:
        await messages.wait_granted(10)
        for _ in range(3):
            waiting = asyncio.create_task(messages.next(None))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(messages.next(None), 0.05)
        await push(platform, device[0], b"one")
        assert (await messages.next(10)).payload == b"one"


async def test_iterates_until_the_stream_is_closed_in_another_task(client, platform, device):
    messages = client.messages(device[0].topic("user/get"))
    await messages.wait_granted(10)
    got = []

    async def read():
        async for message in messages:
            got.append(message.payload)  # noqa: PERF401

    reading = asyncio.create_task(read())
    await push(platform, device[0], b"one")
    while not got:
        await asyncio.sleep(0.01)
    await messages.close()
    await asyncio.wait_for(reading, 10)
    assert got == [b"one"]


async def test_a_consumers_handler_is_a_coroutine(client, platform, device):
    seen = asyncio.Queue()

    async def handle(delivery):
        await asyncio.sleep(0.01)
        seen.put_nowait((delivery.payload, delivery.count))
        if delivery.count == 1:
            raise lk.Retry
        await consumer.close()

    consumer = client.consume("jobs", handle, filters=[device[0].topic("user/get")])
    await consumer.wait_granted(10)
    await push(platform, device[0], b"x")
    assert await asyncio.wait_for(seen.get(), 10) == (b"x", 1)
    assert await asyncio.wait_for(seen.get(), 10) == (b"x", 2)
    await consumer.wait(10)
    assert (await client.list_inboxes())[0].messages == 0
    await consumer.close()


async def test_handlers_run_side_by_side(client, platform, device):
    running = most = 0
    done = asyncio.Semaphore(0)

    async def handle(delivery):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        done.release()

    async with client.consume("jobs", handle, filters=[device[0].topic("user/get")], workers=4) as consumer:
        await consumer.wait_granted(10)
        for i in range(8):
            await push(platform, device[0], str(i).encode())
        for _ in range(8):
            await asyncio.wait_for(done.acquire(), 10)
    assert 1 < most <= 4


async def test_calls_are_answered_by_a_coroutine(client, platform, device):
    @client.on_call(device[0].topic("user/ask"))
    async def answer(call):
        await asyncio.sleep(0.01)
        return call.payload[::-1]

    await answer.wait_granted(10)
    request = sandbox_pb2.CallDeviceRequest(device=platform.named(device[0]), topic=device[0].topic("user/ask"), payload=b"abc")
    told = await asyncio.to_thread(platform.console.CallDevice, request, timeout=10)
    assert told.payload == b"cba"
    assert await answer(lk.Call("t", b"ab")) == b"ba"


async def test_a_cancelled_call_leaves_the_client_usable(client, platform, device):
    fault = sandbox_pb2.Fault(device=platform.named(device[0]), swallow_puback=True)
    await asyncio.to_thread(platform.console.SetFault, sandbox_pb2.SetFaultRequest(fault=fault), timeout=10)
    await client.disconnect()
    await client.connect(endpoint=platform.endpoint, tls=platform.tls)
    publishing = asyncio.create_task(client.publish(device[0].topic("user/update"), b"x"))
    await asyncio.sleep(0.1)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert (await client.get_device()).online


async def test_a_future_that_nobody_wants_is_no_error(client, device):
    async with client.publisher() as publisher:
        (await publisher.publish(device[0].topic("user/update"), b"x")).cancel()
        assert (await (await publisher.publish(device[0].topic("user/update"), b"y"))).outcome is lk.Outcome.ACKNOWLEDGED


def test_a_client_can_be_made_outside_of_its_loop(sidecar):
    client = aio.SidecarClient(sidecar.address)

    async def use():
        async with client:
            return [one async for one in client.list_devices()]

    assert asyncio.run(use()) == []
    gc.collect()
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.SidecarClient(sidecar.address).events()
