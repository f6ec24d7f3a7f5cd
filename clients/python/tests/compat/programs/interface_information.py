"""What the console shows of the device's network interfaces."""

from linkkit import linkkit
from recorder import arguments, options, record, say, wait

kit = linkkit.LinkKit(**arguments())
record(kit, "on_connect")
say("config_device_info", kit.config_device_info("Eth|03ACDEFF0032|Cellular|imei_860000000000001|iccid_89860000000000000001"))
say("config_device_info", kit.config_device_info("x" * 161))
kit.config_mqtt(**options())
kit.connect_async()
wait("on_connect")
kit.disconnect()
