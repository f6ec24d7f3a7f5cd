"""One device, one secret: log in, and log out."""

from linkkit import linkkit
from recorder import arguments, options, record, say, wait

kit = linkkit.LinkKit(**arguments(user_data="mine"))
record(kit, "on_connect", "on_disconnect")
kit.config_mqtt(**options())
say("state", kit.check_state())
say("connect_async", kit.connect_async())
wait("on_connect")
say("state", kit.check_state())
say("who", kit.get_product(), kit.get_device_name(), kit.get_endpoint(), kit.get_actual_endpoint())
kit.disconnect()
wait("on_disconnect")
say("state", kit.check_state())
say("destruct", kit.destruct())
say("state", kit.check_state())
say("destruct", kit.destruct())
