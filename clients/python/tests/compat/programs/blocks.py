"""A callback that blocks for 30 seconds while the platform sends."""

import sys
import time

from linkkit import linkkit
from recorder import arguments, options, say, topic, wait

received = set()


def on_topic_message(name, payload, qos, user_data):
    if not received:
        say("blocking")
        time.sleep(30)
        say("free")
    received.add(int(payload))


kit = linkkit.LinkKit(**arguments())
kit.on_connect = lambda session_flag, rc, user_data: say("on_connect", rc)
kit.on_disconnect = lambda rc, user_data: say("on_disconnect", rc)
kit.on_subscribe_topic = lambda mid, granted_qos, user_data: say("on_subscribe_topic")
kit.on_topic_message = on_topic_message
kit.config_mqtt(**options(keep_alive=30))
kit.connect_async()
wait("on_connect")
kit.subscribe_topic(topic("user/get"))
wait("on_subscribe_topic")
say("push")
wait("free", within=60)
before = -1
while before != len(received):
    before = len(received)
    time.sleep(2)
say("received", sorted(received))
sys.stdin.readline()  # the link is looked at before its end
kit.destruct()
