"""Custom topics, both ways."""

import threading

from linkkit import linkkit
from recorder import arguments, options, quiet, record, say, topic, wait

asked = {}  # what the numbers of requests were for
lock = threading.Lock()  # a callback may come before the method has returned


def ask(method, *values):
    with lock:
        rc, number = getattr(kit, method)(*values)
        asked[number] = values[0] if isinstance(values[0], str) else "a list"
        say(method, rc, number is not None)


def answered(name):
    def callback(number, *values):
        with lock:
            say(name, asked[number], *values)

    return callback


kit = linkkit.LinkKit(**arguments(user_data="mine"))
record(kit, "on_connect", "on_disconnect", "on_topic_message")
kit.on_subscribe_topic = answered("on_subscribe_topic")
kit.on_unsubscribe_topic = answered("on_unsubscribe_topic")
kit.on_publish_topic = answered("on_publish_topic")
kit.config_mqtt(**options())
kit.connect_async()
wait("on_connect")

ask("subscribe_topic", topic("user/get"))
wait("on_subscribe_topic")
ask("subscribe_topic", topic("user/get"))
ask("subscribe_topic", (topic("user/zero"), 0))
wait("on_subscribe_topic", 2)
ask("subscribe_topic", [(topic("user/a"), 1), (topic("user/b/+"), 0)])
wait("on_subscribe_topic", 3)
ask("subscribe_topic", "/a1Foreign01/other/user/get")
wait("on_subscribe_topic", 4)
say("topics", kit.dump_user_topics())
say("push")
wait("on_topic_message", 9)
say("pushed")
quiet()
ask("unsubscribe_topic", topic("user/a"))
wait("on_unsubscribe_topic")
ask("unsubscribe_topic", [topic("user/b/+"), topic("user/never")])
wait("on_unsubscribe_topic", 2)
say("topics", kit.dump_user_topics())
say("push again")
wait("on_topic_message", 10)

quiet()
for count, (payload, qos) in enumerate([("text", 1), (b"bytes", 1), (bytearray(b"array"), 1), (42, 1), (1.5, 1), (None, 1), ("zero", 0)]):
    ask("publish_topic", topic("user/update"), payload, qos)
    wait("on_publish_topic", count + 1)
kit.disconnect()
wait("on_disconnect")
