"""Receives through the sidecar."""

from linkkit_sidecar import Device, Gap, SidecarClient

from meter import Arrivals, params, say

p = params()
arrivals = Arrivals(p)
with SidecarClient(p["address"], device=Device(p["product_key"], p["device_name"])) as client:
    with client.messages(p["topic"], max_waiting=100_000) as messages:
        messages.wait_granted(60)
        say({"ready": 1})
        for message in messages:
            if isinstance(message, Gap):
                raise SystemExit(f"{message.missed} messages were missed")
            arrivals.add(message.payload)
            if arrivals.done.is_set():
                break
    say(arrivals.figures())
