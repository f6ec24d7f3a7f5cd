"""Publishes by the vendor's API alone, so it runs on the vendor's SDK and, unchanged, on linkkit_sidecar.run.

With a window of 1 it waits for each acknowledgement. Without one it publishes until the SDK takes no more, and goes on at the next
acknowledgement: as fast as the SDK's own limits let it.
"""

import threading
import time

from meter import Meter, params, say
from vendor import device

p = params()
kit = device(p)
connected, answered = threading.Event(), threading.Event()
began, early = {}, {}
lock = threading.Lock()


def on_publish(mid, user_data):
    with lock:
        start = began.pop(mid, None)
        if start is None:
            early[mid] = time.monotonic()  # the acknowledgement was faster than publish_topic's return
        else:
            meter.add(start)
    answered.set()


kit.on_connect = lambda session_flag, rc, user_data: connected.set()
kit.on_publish_topic = on_publish
kit.connect_async()
if not connected.wait(60):
    raise SystemExit("not connected")
topic, payload = p["topic"], "x" * p["payload"]


def one_at_a_time():
    """Publish, and wait for the acknowledgement as a caller does who needs to know."""
    while not meter.over():
        start = time.monotonic()
        answered.clear()
        rc, mid = kit.publish_topic(topic, payload)
        if rc != 0 or not answered.wait(30):
            raise SystemExit(f"publish_topic returned {rc}, and no acknowledgement came")
        meter.add(start)


def as_many_as_it_takes():
    while not meter.over():
        start = time.monotonic()
        answered.clear()
        rc, mid = kit.publish_topic(topic, payload)
        if rc != 0:
            answered.wait(1)
            continue
        with lock:
            if early.pop(mid, None) is None:
                began[mid] = start
            else:
                meter.add(start)
    deadline = time.monotonic() + 30
    while began and time.monotonic() < deadline:
        time.sleep(0.01)
    if began:
        raise SystemExit(f"{len(began)} messages were not acknowledged")


meter = Meter(p)
if p.get("window") == 1:
    kit.on_publish_topic = lambda mid, user_data: answered.set()
    one_at_a_time()
else:
    as_many_as_it_takes()
found = meter.figures()
kit.disconnect()
say(found)
