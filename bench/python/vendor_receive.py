"""Receives by the vendor's API alone, so it runs on the vendor's SDK and, unchanged, on linkkit_sidecar.run."""

import threading
from pathlib import Path

from linkkit import linkkit

from meter import Arrivals, params, say

p = params()
host, _, port = p["broker"].partition(":")
kit = linkkit.LinkKit(
    host_name=host, product_key=p["product_key"], device_name=p["device_name"], device_secret="",
    client_id=p["client_id"], username=p["username"], password=p["password"],
)
kit.config_mqtt(port=int(port), cadata=Path(p["ca_file"]).read_text(), endpoint=host)
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
