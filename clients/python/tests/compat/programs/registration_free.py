"""One product, one secret: a device that nobody created gets a login, and uses it."""

import threading

from linkkit import linkkit
from recorder import arguments, options, record, say, settings, wait

login = {}
registered = threading.Event()


def on_device_dynamic_register_nwl_reply(rc, client_id, username, password):
    say("on_device_dynamic_register_nwl_reply", rc, client_id.partition("|")[2] if rc == 0 else client_id, username)
    login.update(client_id=client_id, username=username, password=password)
    registered.set()


kit = linkkit.LinkKit(**arguments(device_secret="", auth_type="regnwl", product_secret=settings["product_secret"]))
record(kit, "on_connect", "on_disconnect")
kit.on_device_dynamic_register_nwl_reply = on_device_dynamic_register_nwl_reply
kit.config_mqtt(**options())
kit.connect_async()
registered.wait(30)
say("state", kit.check_state())

second = linkkit.LinkKit(**arguments(device_secret="", **login))
second.on_connect = lambda *values: say("second.on_connect", *values)
second.on_disconnect = lambda *values: say("second.on_disconnect", *values)
second.config_mqtt(**options())
second.connect_async()
wait("second.on_connect")
second.disconnect()
wait("second.on_disconnect")
