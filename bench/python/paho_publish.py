"""Publishes by paho-mqtt: one at a time, or with a window."""

import ssl
import threading
import time

import paho.mqtt.client as mqtt

from meter import Meter, params, say

p = params()
host, _, port = p["broker"].partition(":")
client = mqtt.Client(client_id=p["client_id"], clean_session=True)
client.username_pw_set(p["username"], p["password"])
client.tls_set_context(ssl.create_default_context(cafile=p["ca_file"]))
client.max_inflight_messages_set(p["window"])
connected = threading.Event()
client.on_connect = lambda *_: connected.set()
room = threading.Semaphore(p["window"])
began, early = {}, {}
lock = threading.Lock()


def on_publish(client, user_data, mid):
    with lock:
        start = began.pop(mid, None)
        if start is None:
            early[mid] = time.monotonic()  # the acknowledgement was faster than publish's return
        else:
            meter.add(start)
    room.release()


client.on_publish = on_publish
client.connect(host, int(port))
client.loop_start()
if not connected.wait(60):
    raise SystemExit("not connected")
topic, payload = p["topic"], bytes(p["payload"])
meter = Meter(p)
if p["window"] == 1:  # wait for the acknowledgement as a caller does who needs to know
    client.on_publish = None
    while not meter.over():
        start = time.monotonic()
        client.publish(topic, payload, 1).wait_for_publish()
        meter.add(start)
while not meter.over():
    room.acquire()
    start = time.monotonic()
    mid = client.publish(topic, payload, 1).mid
    with lock:
        if early.pop(mid, None) is None:
            began[mid] = start
        else:
            meter.add(start)
for _ in range(p["window"]):
    room.acquire()
found = meter.figures()
client.disconnect()
client.loop_stop()
say(found)
