"""A registration that the platform refuses, for the product's secret is wrong."""

from linkkit import linkkit
from recorder import arguments, options, record, say, wait

kit = linkkit.LinkKit(**arguments(device_secret="", auth_type="register", product_secret="wrong"))
record(kit, "on_connect", "on_disconnect", "on_device_dynamic_register")
kit.config_mqtt(**options())
kit.connect_async()
wait("on_device_dynamic_register")
say("state", "DISCONNECTED" if kit.check_state().name in ("CONNECTING", "DISCONNECTED") else kit.check_state())
