"""Answer calls from the platform (RRPC): each within 8 seconds. Ctrl-C ends it.

Usage: python calls.py
"""

import contextlib
import json
import time

from linkkit_sidecar import Call, SidecarClient

with SidecarClient() as client, contextlib.suppress(KeyboardInterrupt):
    device = next(client.list_devices()).device

    @client.on_call(device=device)
    def answer(call: Call) -> str:
        """Tell the time, and what was asked."""
        return json.dumps({"asked": call.payload.decode(), "time": time.time()})

    answer.wait_granted(30)
    print("answering for", device, flush=True)
    answer.wait()
