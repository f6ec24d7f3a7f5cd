"""How a link begins, is lost, comes back and ends."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from typing import Any

import pytest

from linkkit_sidecar import AttemptFailed, Device, LinkState, SidecarClient
from linkkit_sidecar.compat._login import STORED
from linkkit_sidecar.compat.linkkit import LinkKit
from linkkit_sidecar.sandbox.v1 import sandbox_pb2

State = LinkKit.LinkKitState


def kick(platform: Any, device: Any) -> None:
    platform.console.KickDevice(sandbox_pb2.KickDeviceRequest(device=platform.named(device)), timeout=10)


def refuse(platform: Any, device: Any, code: int, connections: int = 1) -> None:
    fault = sandbox_pb2.Fault(device=platform.named(device), connections=connections, refuse_code=code)
    platform.console.SetFault(sandbox_pb2.SetFaultRequest(fault=fault), timeout=10)


def test_states(recorded):
    kit = recorded.kit
    assert kit.check_state() is State.INITIALIZED
    recorded.online()
    assert kit.check_state() is State.CONNECTED
    kit.disconnect()
    assert kit.check_state() is State.DISCONNECTED
    assert recorded.wait("on_disconnect") == (0, None)
    recorded.kit.connect_async()
    recorded.wait("on_connect", 2)
    kit.destruct()
    assert kit.check_state() is State.DESTRUCTED
    assert recorded.of("on_disconnect") == [(0, None), (0, None)]
    with pytest.raises(LinkKit.StateError):
        kit.connect_async()
    kit.destroy()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_a_refusal_comes_with_its_code_and_is_tried_again(recorded, platform, device, monkeypatch, code):
    monkeypatch.setattr("linkkit_sidecar.compat._session._LEAST_PAUSE", 0.1)
    refuse(platform, device[0], code)
    recorded.kit.connect_async()
    assert recorded.wait("on_connect") == (0, code, None)
    assert recorded.wait("on_connect", 2) == (0, 0, None)
    assert recorded.kit.check_state() is State.CONNECTED


def test_a_wrong_secret_is_told_of(make):
    recorded = make(device_secret="wrong", user_data="mine")
    recorded.kit.connect_async()
    assert recorded.wait("on_connect") == (0, 4, "mine")
    assert recorded.kit.check_state() is State.DISCONNECTED


def test_a_device_that_is_refused_while_it_was_online_is_told_of(recorded, platform, device):
    recorded.online()
    refuse(platform, device[0], 5)
    kick(platform, device[0])
    assert recorded.wait("on_disconnect") == (7, None)
    assert recorded.wait("on_connect", 2) == (0, 5, None)
    assert recorded.wait("on_connect", 3) == (0, 0, None)


def test_a_platform_that_is_not_reached_is_told_of_as_9(make):
    recorded = make(mqtt={"port": 1})
    recorded.kit.thing_setup()
    recorded.kit.connect_async()
    assert recorded.wait("on_connect", 2)[1] == 9
    assert recorded.kit.check_state() in (State.CONNECTING, State.DISCONNECTED)
    assert recorded.of("on_thing_enable") == []  # the vendor's is called after each on_connect


def test_a_sidecar_that_is_not_there_is_told_of_as_9(make, configured):
    there, configured.address = configured.address, "unix:///nowhere/s.sock"
    recorded = make()
    recorded.kit.connect_async()
    assert recorded.wait("on_connect", 2)[1] == 9
    configured.address = there


def test_wrong_certificates_are_told_of_as_6_and_wrong_settings_as_7(make):
    recorded = make(mqtt={"cadata": "no PEM"})
    recorded.kit.connect_async()
    assert recorded.wait("on_connect") == (0, 6, None)
    assert recorded.kit.check_state() is State.INITIALIZED
    recorded = make(host_name="nowhere-1")
    recorded.kit.connect_async()
    assert recorded.wait("on_connect") == (0, 7, None)
    assert recorded.kit.check_state() is State.INITIALIZED


def test_subscriptions_outlive_the_link(recorded, platform, device):
    recorded.online()
    topic = device[0].topic("user/get")
    recorded.kit.subscribe_topic(topic)
    recorded.wait("on_subscribe_topic")
    kick(platform, device[0])
    recorded.wait("on_disconnect")
    recorded.wait("on_connect", 2)
    assert recorded.kit.dump_user_topics() == {topic: 1}
    platform.push(device[0], "user/get", b"after")
    assert recorded.wait("on_topic_message") == (topic, b"after", 1, None)
    # A program that subscribes again after each loss, as it must on the vendor's, is answered as there.
    rc, number = recorded.kit.subscribe_topic(topic)
    assert rc == 0
    assert recorded.wait("on_subscribe_topic", 2) == (number, (1,), None)
    assert recorded.kit.subscribe_topic(topic) == (1, None)


def test_subscriptions_outlive_the_sidecar(recorded, platform, device, sidecar):
    recorded.online()
    recorded.kit.subscribe_topic(device[0].topic("user/get"))
    recorded.wait("on_subscribe_topic")
    sidecar.kill()
    sidecar.start()
    recorded.wait("on_connect", 2)
    assert recorded.of("on_disconnect") == [(7, None)]
    recorded.until(lambda: platform.push(device[0], "user/get", b"after").delivery == sandbox_pb2.DELIVERY_SENT)
    assert recorded.wait("on_topic_message")[1] == b"after"
    rc, number = recorded.kit.publish_topic(device[0].topic("user/update"), "still")
    assert rc == 0
    assert recorded.wait("on_publish_topic") == (number, None)


def test_a_message_that_the_link_lost_is_sent_on_the_next(recorded, platform, device):
    recorded.online()
    fault = sandbox_pb2.Fault(device=platform.named(device[0]), connections=1, swallow_puback=True)
    kick(platform, device[0])
    platform.console.SetFault(sandbox_pb2.SetFaultRequest(fault=fault), timeout=10)
    recorded.wait("on_connect", 2)
    topic = device[0].topic("user/update")
    numbers = [recorded.kit.publish_topic(topic, str(i))[1] for i in range(5)]
    recorded.until(lambda: len(platform.published(device[0])) == 5)
    assert recorded.of("on_publish_topic") == []
    kick(platform, device[0])
    recorded.wait("on_publish_topic", 5)
    assert recorded.of("on_publish_topic") == [(n, None) for n in numbers]
    assert platform.published(device[0])[5:] == [b"0", b"1", b"2", b"3", b"4"]


def test_messages_can_be_stored_while_the_device_is_offline(make, configured, platform, device):
    configured.stored = True
    recorded = make()
    recorded.online()
    platform.console.DisableDevice(sandbox_pb2.DisableDeviceRequest(device=platform.named(device[0])), timeout=10)
    recorded.wait("on_disconnect")
    assert recorded.kit.check_state() is not State.CONNECTED
    results = [recorded.kit.publish_topic(device[0].topic("user/update"), str(i)) for i in range(100)]  # more than max_queued_message
    assert [rc for rc, _ in results] == [0] * 100
    assert recorded.of("on_publish_topic") == []
    platform.console.EnableDevice(sandbox_pb2.EnableDeviceRequest(device=platform.named(device[0])), timeout=10)
    recorded.wait("on_publish_topic", 100)
    assert recorded.of("on_publish_topic") == [(number, None) for _, number in results]
    assert platform.published(device[0]) == [str(i).encode() for i in range(100)]


def test_what_was_stored_outlives_the_program(make, configured, platform, device):
    configured.stored = True
    recorded = make().online()
    platform.console.DisableDevice(sandbox_pb2.DisableDeviceRequest(device=platform.named(device[0])), timeout=10)
    recorded.wait("on_disconnect")
    assert recorded.kit.publish_topic(device[0].topic("user/update"), "kept")[0] == 0
    recorded.kit.destruct()
    platform.console.EnableDevice(sandbox_pb2.EnableDeviceRequest(device=platform.named(device[0])), timeout=10)
    make().online()
    recorded.until(lambda: platform.published(device[0]) == [b"kept"])


def test_without_that_a_message_is_not_taken_while_the_device_is_offline(recorded, device):
    recorded.online()
    recorded.kit.disconnect()
    assert recorded.kit.publish_topic(device[0].topic("user/update"), "x") == (-1, None)


def test_reconnecting_by_force(recorded, platform, device):
    recorded.kit.force_reconnect()  # nothing: there is no link
    recorded.online()
    recorded.kit.force_reconnect()
    assert recorded.wait("on_disconnect") == (1, None)
    assert recorded.wait("on_connect", 2) == (0, 0, None)
    assert recorded.kit.publish_topic(device[0].topic("user/update"), "x")[0] == 0


@pytest.mark.parametrize("end", ["disconnect", "destruct"])
def test_a_callback_may_end_the_link(make, end):
    recorded = make("on_connect")
    over = threading.Event()

    def on_connect(session_flag, rc, user_data):
        getattr(recorded.kit, end)()
        over.set()

    recorded.kit.on_connect = on_connect
    recorded.kit.connect_async()
    assert over.wait(20)
    assert recorded.wait("on_disconnect") == (0, None)
    assert recorded.kit.check_state() is (State.DISCONNECTED if end == "disconnect" else State.DESTRUCTED)


def test_a_callback_that_raises_ends_nothing(make, caplog):
    recorded = make("on_connect", "on_publish_topic")
    recorded.kit.thing_setup()
    recorded.kit.on_connect = recorded.kit.on_publish_topic = lambda *values: 1 / 0
    recorded.kit.connect_async()
    recorded.wait("on_thing_enable")
    recorded.kit.publish_topic(recorded.kit.to_full_topic("user/update"), "x")
    recorded.until(lambda: "on_publish_topic raised" in caplog.text)
    assert "on_connect raised" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_wait_between_attempts_is_the_sidecars_and_keeps_to_its_bounds(make, configured, device):
    recorded = make(mqtt={"port": 1, "auto_reconnect_min_sec": 1, "auto_reconnect_max_sec": 1})
    recorded.kit.connect_async()
    recorded.wait("on_connect", 3)
    with SidecarClient(configured.address, device=device[0]) as client, client.events() as events:
        waits = []
        while len(waits) < 3:
            event = events.next(10)
            if isinstance(event, AttemptFailed):
                waits.append((event.next_attempt_time - event.time).total_seconds())
    assert all(wait <= 1.1 for wait in waits), waits


def test_destroying_ends_an_attempt(make, configured):
    recorded = make(mqtt={"port": 1})
    recorded.kit.connect_async()
    recorded.wait("on_connect")
    began = time.monotonic()
    recorded.kit.destroy()
    assert time.monotonic() - began < 10
    assert recorded.kit.check_state() is State.DESTRUCTED
    with SidecarClient(configured.address) as client:
        assert [one.wanted for one in client.list_devices()] == [False]


def test_somebody_else_may_disconnect_or_forget_the_device_and_the_program_connect_it_again(recorded, configured, device):
    recorded.online()
    with SidecarClient(configured.address, device=device[0]) as client:
        client.disconnect()
        assert recorded.wait("on_disconnect") == (0, None)
        assert recorded.kit.connect_async() == 0
        assert recorded.wait("on_connect", 2) == (0, 0, None)
        recorded.kit.subscribe_topic(device[0].topic("user/get"))
        recorded.wait("on_subscribe_topic")
        client.forget_device(device[0], force=True)
        assert recorded.wait("on_disconnect", 2)[0] in (0, 7)
        recorded.until(recorded.kit._session.over.is_set)
        assert recorded.kit.connect_async() == 0
        assert recorded.wait("on_connect", 3) == (0, 0, None)
        assert recorded.kit.publish_topic(device[0].topic("user/update"), "x")[0] == 0
        assert recorded.kit.subscribe_topic(device[0].topic("user/get"))[0] == 0
        recorded.wait("on_publish_topic")
        recorded.wait("on_subscribe_topic", 2)


def test_connecting_twice_says_so(make):
    recorded = make(mqtt={"port": 1})
    assert recorded.kit.connect_async() == 0
    recorded.wait("on_connect")
    recorded.until(lambda: recorded.kit.check_state() is State.DISCONNECTED)
    assert recorded.kit.connect_async() == 1


def test_the_device_stays_online_when_the_program_only_ends(recorded, configured, device):
    recorded.online()
    second = LinkKit("localhost", device[0].product_key, device[0].device_name, device[1].secret)
    second._place, second._options = recorded.kit._place, recorded.kit._options
    told = threading.Event()
    second.on_connect = lambda session_flag, rc, user_data: told.set()
    second.connect_async()  # as the program's next run would
    assert told.wait(20)
    with SidecarClient(configured.address, device=device[0]) as client:
        assert client.get_device().counters.connects == 1
    second.destruct()


# Registration.


def new_device(platform: Any) -> dict[str, Any]:
    device, _ = platform.device(secret=False)
    return {"device_name": device.device_name, "device_secret": "", "product_secret": platform.product_secret}


def test_a_stored_credential_is_used_rather_than_registering_again(make, platform, caplog):
    arguments = {**new_device(platform), "auth_type": "register"}
    first = make(**arguments)
    first.kit.connect_async()
    rc, secret, user_data = first.wait("on_device_dynamic_register")
    assert (rc, user_data) == (0, None)
    assert len(secret) == 32
    assert first.of("on_connect") == []  # the vendor's is called for the short link of the registration
    first.until(lambda: first.kit.check_state() is State.DISCONNECTED)
    with_secret = make(**{**arguments, "device_secret": secret}).online()
    with_secret.kit.disconnect()
    again = make(**arguments)
    again.kit.connect_async()
    assert again.wait("on_device_dynamic_register") == (0, STORED, None)
    assert "registered already" in caplog.text
    make(**{**arguments, "device_secret": STORED}).online()


def test_registering_again_can_be_asked_for(make, platform, configured):
    arguments = {**new_device(platform), "auth_type": "register"}
    first = make(**arguments)
    first.kit.connect_async()
    first.wait("on_device_dynamic_register")
    configured.register_again = True
    again = make(**arguments)
    again.kit.connect_async()
    rc, secret, _ = again.wait("on_device_dynamic_register")
    assert rc == 0
    assert len(secret) == 32


def test_a_token_is_told_and_used_and_kept(make, platform):
    arguments = {"device_name": f"made-{time.time_ns()}", "device_secret": "", "product_secret": platform.product_secret, "auth_type": "regnwl"}
    first = make(**arguments)
    first.kit.connect_async()
    rc, client_id, username, password = first.wait("on_device_dynamic_register_nwl_reply")
    assert rc == 0
    assert client_id.endswith("|authType=connwl,securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13|")
    assert password
    login = {"client_id": client_id, "username": username, "password": password}
    make(**{**arguments, "product_secret": None, **login}).online().kit.disconnect()
    again = make(**arguments)
    again.kit.connect_async()
    rc, client_id, username, password = again.wait("on_device_dynamic_register_nwl_reply")
    assert (rc, password) == (0, STORED)
    stored = {"client_id": client_id, "username": username, "password": password}
    make(**{**arguments, "product_secret": None, **stored}).online()


def test_a_refused_registration_is_told_of_at_once(make, platform):
    for auth_type, name, told in (
        ("register", "on_device_dynamic_register", (-0x301, None, None)),
        ("regnwl", "on_device_dynamic_register_nwl_reply", (-0x302, None, None, None)),
    ):
        recorded = make(
            **{**new_device(platform), "product_secret": "wrong"}, auth_type=auth_type, mqtt={"auto_reconnect_min_sec": 60, "auto_reconnect_max_sec": 60}
        )
        recorded.kit.connect_async()
        assert recorded.wait(name, within=15) == told  # the vendor's waits for auto_reconnect_min_sec first
        assert recorded.kit.check_state() is State.DISCONNECTED


@pytest.mark.parametrize("auth_type", ["register", "regnwl", None])
def test_a_registration_that_does_not_reach_the_platform_goes_on(make, platform, auth_type):
    recorded = make(**new_device(platform), auth_type=auth_type, mqtt={"port": 1})
    recorded.kit.connect_async()
    assert recorded.wait("on_connect", 2) == (0, 9, None)


def test_registering_over_https_goes_on_to_connect(make, platform, device, monkeypatch):
    port = platform.port("https")
    monkeypatch.setattr(
        "linkkit_sidecar.compat._options.Place.registration",
        lambda place, arguments: {**arguments, "endpoint": type(arguments["endpoint"])(host="localhost", port=port)},
    )
    recorded = make(**new_device(platform), user_data="mine")
    recorded.kit.connect_async()
    rc, secret, user_data = recorded.wait("on_device_dynamic_register")
    assert (rc, len(secret), user_data) == (0, 32, "mine")
    assert recorded.wait("on_connect") == (0, 0, "mine")
    refused = make(**{**new_device(platform), "product_secret": "wrong"})
    refused.kit.connect_async()
    rc, message, _ = refused.wait("on_device_dynamic_register")
    assert rc == 1
    assert message
    assert refused.kit.check_state() is State.INITIALIZED


def test_an_unknown_way_to_register_is_an_error_at_once(make, platform):
    recorded = make(**new_device(platform), auth_type="other")
    with pytest.raises(LinkKit.StateError, match="'other'"):
        recorded.kit.connect_async()
    assert recorded.kit.check_state() is State.INITIALIZED


def test_a_ready_made_login_is_sent_as_it_is(make, platform, device):
    name, key = device[0].device_name, device[0].product_key
    signed = f"clientIdminedeviceName{name}productKey{key}"
    password = hmac.new(device[1].secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    recorded = make(device_secret="", client_id="mine|securemode=2,signmethod=hmacsha256,ext=1|", username=f"{name}&{key}", password=password)
    recorded.online()
    logins = platform.console.ListLogins(sandbox_pb2.ListLoginsRequest(device=platform.named(device[0])), timeout=10).logins
    assert logins[-1].client_id == "mine|securemode=2,signmethod=hmacsha256,ext=1|"
    recorded.kit.subscribe_topic(device[0].topic("user/get"))  # the first filter: this login gets no system topics unasked
    recorded.wait("on_subscribe_topic")
    platform.push(device[0], "user/get", b"x")
    assert recorded.wait("on_topic_message")[1] == b"x"


def test_settings_arrive(make, platform, device, configured):
    recorded = make(mqtt={"keep_alive": 300, "clean_session": False, "protocol": "MQTTv31", "auto_reconnect_min_sec": 2, "auto_reconnect_max_sec": 7})
    assert recorded.kit.config_device_info("WiFi|03acdeff0032") == 0
    recorded.online()
    logins = platform.console.ListLogins(sandbox_pb2.ListLoginsRequest(device=platform.named(device[0])), timeout=10).logins
    assert "sii=WiFi|03ACDEFF0032," in logins[-1].client_id
    assert logins[-1].tls_server_name == "localhost"
    recorded.kit.disconnect()
    with SidecarClient(configured.address, device=Device(device[0].product_key, device[0].device_name)) as client:
        assert client.get_device().state is LinkState.IDLE


def test_plain_tcp_and_an_address_with_a_verified_name(make, platform, device):
    port = platform.port("mqtt")
    recorded = make(host_name="127.0.0.1", mqtt={"secure": "", "port": port}).online()
    assert recorded.kit.get_actual_endpoint() == "127.0.0.1"
    recorded.kit.disconnect()
    recorded = make(host_name="127.0.0.1").online()
    recorded.kit.disconnect()
    recorded = make(mqtt={"endpoint": "127.0.0.1", "check_hostname": False}).online()
    assert recorded.kit.get_endpoint() == "127.0.0.1"
