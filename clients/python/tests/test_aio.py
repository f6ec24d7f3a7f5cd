"""What only the asyncio client has: coroutines as handlers, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest
import pytest_asyncio
from fake import Collected, all_of, delivery, receipt

import linkkit_sidecar as lk
from linkkit_sidecar import aio
from linkkit_sidecar.sandbox.v1 import sandbox_pb2
from linkkit_sidecar.v1 import messaging_pb2 as pb


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


async def test_tasks_that_wait_for_room_keep_to_the_window(fake):
    room = threading.Semaphore(0)

    def slow(requests, context):
        for request in requests:
            for one in request.messages:
                room.acquire(timeout=10)
                yield pb.PublishStreamResponse(receipts=[receipt(one)])

    fake.PublishStream = slow
    fake.start()
    async with aio.SidecarClient(fake.address) as client, client.publisher(window=2) as publisher:
        tasks = [asyncio.create_task(publisher.publish("/a/b/c", str(i), timeout=10)) for i in range(12)]
        for _ in tasks:
            await asyncio.sleep(0.02)
            assert len(publisher._pending) <= 2
            room.release()
        for future in await asyncio.gather(*tasks):
            assert (await future).outcome is lk.Outcome.ACKNOWLEDGED


async def test_waits_of_a_publisher_can_be_cancelled(fake):
    def silent(requests, context):
        fake.over.wait(10)
        yield from ()

    fake.PublishStream = silent
    fake.start()
    async with aio.SidecarClient(fake.address) as client:
        publisher = client.publisher(window=1)
        future = await publisher.publish("/a/b/c", b"x")
        for waiting in (publisher.publish("/a/b/c", b"y"), publisher.flush(), publisher.close()):
            task = asyncio.create_task(waiting)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(lk.SidecarError):  # close was cancelled, and is done
            await future
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("linkkit-sidecar")]
        fake.over.set()


async def test_a_cancelled_close_of_the_client_can_be_done_again(fake):
    def silent(requests, context):
        fake.over.wait(10)
        yield from ()

    def consume(requests, context):
        for _ in requests:
            yield pb.ConsumeResponse()

    fake.PublishStream, fake.Events, fake.Consume = silent, silent, consume
    fake.start()
    client = aio.SidecarClient(fake.address)
    publishers = [client.publisher() for _ in range(2)]
    for publisher in publishers:
        await publisher.publish("/a/b/c", b"x")
    client.events()
    client.consume("jobs", print)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0.1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    for publisher in publishers:
        await publisher.close(0.1)
    await client.close()
    assert not client._opened
    assert client._stubs is None
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("linkkit-sidecar")]
    fake.over.set()


async def test_a_handler_that_waited_for_what_was_cancelled_has_failed(fake):
    streams = []

    def consume(requests, context):
        streams.append(Collected(requests))
        yield pb.ConsumeResponse(deliveries=[delivery(1), delivery(2)])
        while context.is_active() and None not in streams[-1].queue:
            fake.over.wait(0.01)

    async def handle(message):
        inner = asyncio.create_task(asyncio.sleep(10))
        inner.cancel()
        await inner

    fake.Consume = consume
    fake.start()
    async with aio.SidecarClient(fake.address) as client:
        consumer = client.consume("jobs", handle)
        if sys.version_info < (3, 11):  # a task cannot tell who was cancelled there: the consumer ends, and says so
            with pytest.raises(lk.SidecarError):
                await consumer.wait(10)
            return
        while not streams or sum(len(one.answers) for one in list(streams[0].queue) if one) < 2:
            await asyncio.sleep(0.01)
        await consumer.close()
    assert {one.verdict for request in all_of(streams[0]) for one in request.answers} == {pb.VERDICT_RETRY}


async def test_what_is_cancelled_by_others_says_so(fake):
    def silent(requests, context):
        fake.over.wait(5)
        yield from ()

    fake.Consume = fake.Events = fake.PublishStream = silent
    fake.start()
    async with aio.SidecarClient(fake.address) as client:
        consumer, events, publisher = client.consume("jobs", print), client.events(), client.publisher()
        future = await publisher.publish("/a/b/c", b"x")
        waiting = asyncio.create_task(events.next(10))
        await asyncio.sleep(0.1)
        for name in ("linkkit-sidecar-consumer-jobs-0", "linkkit-sidecar-events", "linkkit-sidecar-publisher"):
            next(t for t in asyncio.all_tasks() if t.get_name() == name).cancel()
        for wait in (consumer.wait(10), waiting, events.next(1), future, publisher.publish("/a/b/c", b"y")):
            with pytest.raises((lk.InternalError, lk.OutcomeUnknownError)):
                await wait
        fake.over.set()


def test_a_client_in_another_loop_says_so(sidecar):
    client = aio.SidecarClient(sidecar.address)

    async def use():
        return [one async for one in client.list_devices()]

    first = asyncio.new_event_loop()
    assert first.run_until_complete(use()) == []
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(use())
    first.run_until_complete(client.close())
    first.close()


def test_a_loop_that_ends_with_a_client_open_does_not_hang(sidecar):
    async def leave():
        client = aio.SidecarClient(sidecar.address)
        client.consume("jobs", print)
        client.publisher()
        events = client.events()
        await events.next(10)

    asyncio.run(asyncio.wait_for(leave(), 20))
    gc.collect()
