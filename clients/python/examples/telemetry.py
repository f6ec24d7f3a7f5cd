"""Publish readings that no crash loses: each is on the sidecar's disk before the next is taken, and sent when the device is online.

Usage: python telemetry.py [READINGS]
"""

import json
import random
import sys
import time

from linkkit_sidecar import Assurance, SidecarClient

readings = int(sys.argv[1]) if len(sys.argv) > 1 else 10

with SidecarClient() as client:
    device = next(client.list_devices()).device
    topic = device.topic("user/update")
    with client.publisher(device=device) as publisher:
        receipts = []
        for number in range(readings):
            reading = json.dumps({"number": number, "temperature": round(random.gauss(21, 1), 2), "time": time.time()})
            # It expires if the device stays offline for a day: an old temperature is of no use.
            receipts.append(publisher.publish(topic, reading, assurance=Assurance.STORED, ttl=24 * 3600))
        stored = [receipt.result(30) for receipt in receipts]
    print(f"{len(stored)} readings of {device} are on disk; the last has number {stored[-1].sequence} in its outbox")
