"""One product, one secret: a device that was created beforehand gets its own secret, and logs in with it."""

import threading

from linkkit import linkkit
from recorder import arguments, options, record, say, settings, wait

secrets = []
registered = threading.Event()


def on_device_dynamic_register(rc, value, user_data):
    say("on_device_dynamic_register", rc, "a secret" if rc == 0 else value, user_data)
    secrets.append(value)
    registered.set()


kit = linkkit.LinkKit(**arguments(device_secret="", auth_type="register", product_secret=settings["product_secret"], user_data="mine"))
record(kit, "on_connect", "on_disconnect")
kit.on_device_dynamic_register = on_device_dynamic_register
kit.config_mqtt(**options())
kit.connect_async()
registered.wait(30)
say("state", kit.check_state())

second = linkkit.LinkKit(**arguments(device_secret=secrets[0], user_data="second"))
second.on_connect = lambda *values: say("second.on_connect", *values)
second.on_disconnect = lambda *values: say("second.on_disconnect", *values)
second.config_mqtt(**options())
second.connect_async()
wait("second.on_connect")
second.disconnect()
wait("second.on_disconnect")
