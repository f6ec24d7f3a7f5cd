"""Programs on the vendor's SDK as it is, to be run against the sandbox.

Each prints one JSON object a line: a callback of the SDK with its arguments, as they come.
"""

import argparse
import json
import os
import sys
import threading

from linkkit import linkkit


def say(callback, **arguments):
    print(json.dumps({"callback": callback, **arguments}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host-name", required=True, help="what LinkKit calls host_name: a region, or a host")
    parser.add_argument("--product-key", required=True)
    parser.add_argument("--device-name", required=True)
    parser.add_argument("--device-secret", default="")
    parser.add_argument("--product-secret")
    parser.add_argument("--auth-type")
    parser.add_argument("--client-id")
    parser.add_argument("--username")
    parser.add_argument("--password")
    parser.add_argument("--port", type=int, default=8883)
    parser.add_argument("--endpoint")
    parser.add_argument("--ca-file", help="the server's root; none means plain TCP")
    parser.add_argument("--interface", help="interface information")
    parser.add_argument("--publish", help="a topic to publish to once connected")
    parser.add_argument("--subscribe", help="a topic to subscribe to once connected")
    parser.add_argument("--until", default="on_connect", help="the callback after which the program ends")
    args = parser.parse_args()

    kit = linkkit.LinkKit(
        host_name=args.host_name, product_key=args.product_key, device_name=args.device_name,
        device_secret=args.device_secret, product_secret=args.product_secret, auth_type=args.auth_type,
        client_id=args.client_id, username=args.username, password=args.password,
    )
    cadata = None
    if args.ca_file:
        with open(args.ca_file, encoding="ascii") as file:
            cadata = file.read()
    kit.config_mqtt(port=args.port, secure="TLS" if args.ca_file else "", endpoint=args.endpoint, cadata=cadata)
    if args.interface:
        kit.config_device_info(args.interface)

    over = threading.Event()

    def told(callback, **arguments):
        say(callback, **arguments)
        if callback == args.until:
            over.set()

    def on_connect(session_flag, rc, user_data):
        if rc == 0 and args.subscribe:
            kit.subscribe_topic(args.subscribe)
        if rc == 0 and args.publish:
            kit.publish_topic(args.publish, b"from the vendor's SDK")
        told("on_connect", session_flag=session_flag, rc=rc)

    kit.on_connect = on_connect
    kit.on_disconnect = lambda rc, user_data: told("on_disconnect", rc=rc)
    kit.on_publish_topic = lambda mid, user_data: told("on_publish_topic", mid=mid)
    kit.on_subscribe_topic = lambda mid, granted_qos, user_data: told("on_subscribe_topic", granted_qos=granted_qos)
    kit.on_topic_message = lambda topic, payload, qos, user_data: told(
        "on_topic_message", topic=topic, payload=payload.decode(), qos=qos)
    kit.on_device_dynamic_register = lambda rc, value, user_data: told("on_device_dynamic_register", rc=rc, value=value)
    kit.on_device_dynamic_register_nwl_reply = lambda rc, client_id, username, password: told(
        "on_device_dynamic_register_nwl_reply", rc=rc, client_id=client_id, username=username, password=password)

    kit.connect_async()
    if not over.wait(60):
        say("nothing", wanted=args.until)
        sys.exit(1)
    if kit.check_state() == linkkit.LinkKit.LinkKitState.CONNECTED:
        kit.disconnect()
    sys.stdout.flush()
    os._exit(0)  # destruct() waits for threads of the SDK that may be in the middle of a connect


main()
