"""A thing model with raw data."""

from linkkit import linkkit
from recorder import arguments, options, quiet, record, say, wait


def on_thing_raw_data_arrived(payload, user_data):
    say("on_thing_raw_data_arrived", payload, user_data)
    say("thing_raw_data_reply", kit.thing_raw_data_reply(b"reply to " + payload))


kit = linkkit.LinkKit(**arguments(user_data="mine"))
record(kit, "on_connect", "on_disconnect", "on_thing_enable", "on_thing_disable", "on_thing_raw_data_post", "on_topic_message", "on_publish_topic")
kit.on_thing_raw_data_arrived = on_thing_raw_data_arrived
kit.config_mqtt(**options())
say("thing_setup", kit.thing_setup())
say("thing_setup", kit.thing_setup())
kit.connect_async()
wait("on_thing_enable")
say("thing_raw_post_data", kit.thing_raw_post_data(b"up"))
say("posted")
wait("on_thing_raw_data_post")
say("push")
wait("thing_raw_data_reply")
quiet()
kit.disconnect()
wait("on_disconnect")
