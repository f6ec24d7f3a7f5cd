"""Receives by the vendor's API alone, so it runs on the vendor's SDK and, unchanged, on linkkit_sidecar.run."""

import threading

from meter import Arrivals, params, say
from vendor import device

p = params()
kit = device(p)
arrivals = Arrivals(p)
subscribed = threading.Event()
kit.on_connect = lambda session_flag, rc, user_data: kit.subscribe_topic(p["topic"], 1)
kit.on_subscribe_topic = lambda mid, granted_qos, user_data: subscribed.set()
kit.on_topic_message = lambda topic, payload, qos, user_data: arrivals.add(payload)
kit.connect_async()
if not subscribed.wait(60):
    raise SystemExit("not subscribed")
say({"ready": 1})
found = arrivals.figures()
kit.disconnect()
say(found)
