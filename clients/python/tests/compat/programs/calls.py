"""Calls from the platform on custom topics (RRPC), and its system messages."""

from linkkit import linkkit
from recorder import arguments, options, quiet, record, say, topic, wait


def on_topic_rrpc_message(rrpc_id, rrpc_topic, payload, qos, user_data):
    say("on_topic_rrpc_message", rrpc_topic.replace(rrpc_id, "ID"), payload, qos, user_data)
    say("thing_answer_rrpc", kit.thing_answer_rrpc(rrpc_id, b"answer to " + payload)[0])
    say("thing_answer_rrpc", kit.thing_answer_rrpc(rrpc_id, b"twice"))


def on_topic_message(name, payload, qos, user_data):
    say("on_topic_message", "a call" if "rrpc" in name else name, payload, qos, user_data)
    if "/rrpc/request/" in name:
        kit.publish_topic(name.replace("request", "response"), b"answer to " + payload, 0)


kit = linkkit.LinkKit(**arguments(user_data="mine"))
record(kit, "on_connect")
kit.on_topic_rrpc_message = on_topic_rrpc_message
kit.on_topic_message = on_topic_message
kit.on_publish_topic = lambda mid, user_data: say("on_publish_topic", user_data)
kit.config_mqtt(**options())
kit.connect_async()
wait("on_connect")
say("subscribe_rrpc_topic", kit.subscribe_rrpc_topic(topic("user/ask"))[0])
say("subscribe_rrpc_topic", kit.subscribe_rrpc_topic(topic("user/ask"))[0])
say("subscribe_rrpc_topic", kit.subscribe_rrpc_topic([topic("user/other")[1:]])[0])
quiet()  # no callback tells of the platform's answer
say("call")
wait("on_publish_topic")
say("call the system's topic")
wait("on_publish_topic", 2)
say("unsubscribe_rrpc_topic", kit.unsubscribe_rrpc_topic(topic("user/ask"))[0])
say("unsubscribe_rrpc_topic", kit.unsubscribe_rrpc_topic([topic("user/other")])[0])
say("push what the system sends")
wait("on_topic_message", 5)
quiet()
kit.disconnect()
