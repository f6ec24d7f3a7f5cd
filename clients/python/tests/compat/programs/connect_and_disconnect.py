"""The link is lost and comes back by itself; what was subscribed to is subscribed to again by the program."""

from linkkit import linkkit
from recorder import arguments, options, quiet, record, say, topic, wait


def on_connect(session_flag, rc, user_data):
    say("on_connect", session_flag, rc, user_data)
    say("subscribe_topic", kit.subscribe_topic(topic("user/get"))[0])


kit = linkkit.LinkKit(**arguments(user_data={"a": 1}))
record(kit, "on_disconnect", "on_topic_message")
kit.on_connect = on_connect
kit.on_subscribe_topic = lambda mid, granted_qos, user_data: say("on_subscribe_topic", granted_qos, user_data)
kit.config_mqtt(**options(keep_alive=60, clean_session=True))
kit.connect_async()
wait("on_subscribe_topic")
say("topics", kit.dump_user_topics())
say("kick")
wait("on_disconnect")
wait("on_subscribe_topic", 2)
say("push")
wait("on_topic_message")
quiet()
kit.disconnect()
wait("on_disconnect", 2)
say("topics", kit.dump_user_topics())
kit.connect_async()
wait("on_subscribe_topic", 3)
kit.destruct()
say("state", kit.check_state())
