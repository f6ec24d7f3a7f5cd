"""Publishes through the sidecar: one at a time, by the publisher, or by asyncio's."""

import asyncio
import sys
import time

from linkkit_sidecar import Device, SidecarClient, aio

from meter import Meter, params, say

p = params()
how = sys.argv[1]
device = Device(p["product_key"], p["device_name"])
topic, payload = p["topic"], bytes(p["payload"])


def settled(meter, start):
    def settle(future):
        future.result()
        meter.add(start)

    return settle


def one():
    with SidecarClient(p["address"], device=device) as client:
        meter = Meter(p)
        while not meter.over():
            start = time.monotonic()
            client.publish(topic, payload)
            meter.add(start)
        return meter.figures()


def pipelined():
    with SidecarClient(p["address"], device=device) as client, client.publisher() as publisher:
        meter = Meter(p)
        while not meter.over():
            start = time.monotonic()
            publisher.publish(topic, payload).add_done_callback(settled(meter, start))
        publisher.flush(30)
        return meter.figures()


async def asynchronous():
    async with aio.SidecarClient(p["address"], device=device) as client, client.publisher() as publisher:
        meter = Meter(p)
        while not meter.over():
            start = time.monotonic()
            (await publisher.publish(topic, payload)).add_done_callback(settled(meter, start))
        await publisher.flush(30)
        return meter.figures()


say({"one": one, "pipelined": pipelined, "asyncio": lambda: asyncio.run(asynchronous())}[how]())
