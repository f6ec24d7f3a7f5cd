"""What the programs have in common: where the platform is, and a record of the callbacks, one JSON array a line."""

import json
import os
import sys
import threading
import time

settings = json.loads(os.environ["PROGRAM"])
"""host_name, product_key, device_name, device_secret, product_secret, port, cadata."""

_said = []
_changed = threading.Condition()


def say(name, *values):
    """Put a line into the record."""
    with _changed:
        _said.append(name)
        print(json.dumps([name, *values], default=_plain), flush=True)
        _changed.notify_all()


def _plain(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def record(kit, *names):
    """Set callbacks that are only recorded."""
    for name in names:
        setattr(kit, name, lambda *values, name=name: say(name, *values))


def wait(name, count=1, within=20):
    """Wait until a callback has come `count` times in all."""
    deadline = time.monotonic() + within
    with _changed:
        while _said.count(name) < count:
            if not _changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                say("missing", name)
                sys.stdout.flush()
                os._exit(1)


def options(**more):
    """Arguments of config_mqtt that lead to the platform."""
    return {"port": settings["port"], "cadata": settings["cadata"], **more}


def quiet(within=10):
    """Wait until nothing more comes: half a second without a line.

    The vendor's package writes to its socket from several threads without a lock: a call beside an acknowledgement may break the link.
    """
    deadline = time.monotonic() + within
    before = -1
    while before != len(_said) and time.monotonic() < deadline:
        before = len(_said)
        time.sleep(0.5)


def topic(end):
    """A topic of the device's."""
    return f"/{settings['product_key']}/{settings['device_name']}/{end}"


def arguments(**more):
    """Arguments of LinkKit."""
    given = {name: settings[name] for name in ("host_name", "product_key", "device_name", "device_secret")}
    return {**given, **more}
