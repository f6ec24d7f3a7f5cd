"""Consume commands from a queue on disk: those that came while this program did not run wait for it. Ctrl-C ends it.

Usage: python commands.py
"""

import contextlib
import json

from linkkit_sidecar import Delivery, Drop, Retry, SidecarClient


def handle(delivery: Delivery) -> None:
    """Do what a command says. To return is to say that it is done."""
    try:
        command = json.loads(delivery.payload)
    except ValueError:
        print("dropped:", delivery.payload, flush=True)
        raise Drop from None  # it will not get better
    if command.get("busy") and delivery.count == 1:
        print("later:", command, flush=True)
        raise Retry(1)
    print("done:", command, flush=True)


with SidecarClient() as client, contextlib.suppress(KeyboardInterrupt):
    device = next(client.list_devices()).device
    with client.consume("commands", handle, filters=[device.topic("user/get")], device=device, max_deliveries=5) as consumer:
        consumer.wait_granted(30)
        print("commands on", device.topic("user/get"), flush=True)
        consumer.wait()
