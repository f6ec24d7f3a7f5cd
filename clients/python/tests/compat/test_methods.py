"""What methods return and raise, and which callbacks follow."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from linkkit_sidecar.compat.linkkit import LinkKit
from linkkit_sidecar.sandbox.v1 import sandbox_pb2

GOOD = {"host_name": "cn-shanghai", "product_key": "pk", "device_name": "dn", "device_secret": "s"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"host_name": ""},
        {"host_name": None},
        {"product_key": ""},
        {"device_name": ""},
        {"device_secret": ""},
        {"device_secret": None, "username": "u", "client_id": "c"},
    ],
)
def test_what_an_object_cannot_do_without(wrong):
    with pytest.raises(ValueError, match=r"missing|give"):
        LinkKit(**{**GOOD, **wrong})


def test_what_it_can_do_without():
    LinkKit(**{**GOOD, "device_secret": "", "product_secret": "p"})
    LinkKit(**{**GOOD, "device_secret": None, "username": "u", "client_id": "c", "password": "p"})


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ({}, "pk.iot-as-mqtt.cn-shanghai.aliyuncs.com"),
        ({"instance_id": "iot-1"}, "iot-1.mqtt.iothub.aliyuncs.com"),
        ({"host_name": "localhost", "instance_id": "iot-1"}, "localhost"),
        ({"host_name": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_the_host_that_is_dialled(more, host):
    kit = LinkKit(**{**GOOD, **more})
    assert kit.get_actual_endpoint() == host
    assert kit.get_endpoint() is None
    kit.config_mqtt(endpoint="elsewhere")
    kit.config_mqtt()  # does not take it back
    assert kit.get_endpoint() == kit.get_actual_endpoint() == "elsewhere"


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65536},
        {"protocol": "MQTTv5"},
        {"transport": "WS"},
        {"secure": None},
        {"keep_alive": 29},
        {"keep_alive": 1201},
        {"clean_session": 1},
        {"max_inflight_message": -1},
        {"max_queued_message": -1},
        {"auto_reconnect_min_sec": 0},
        {"auto_reconnect_min_sec": 7201},
        {"auto_reconnect_max_sec": 7201},
        {"auto_reconnect_min_sec": 5, "auto_reconnect_max_sec": 4},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkKit(**GOOD).config_mqtt(**wrong)


@pytest.mark.parametrize("good", [{"port": 65535, "keep_alive": 1200}, {"max_inflight_message": 0, "max_queued_message": 0}, {"secure": ""}])
def test_settings_at_their_bounds(good):
    assert LinkKit(**GOOD).config_mqtt(**good) is None


def test_interface_information():
    kit = LinkKit(**GOOD)
    assert kit.config_device_info("") == 0
    assert kit.config_device_info("x" * 161) == 1
    assert kit.config_device_info("ETH|03ACDEFF0032|Eth|03ACDEFF0031|WiFi|03:ac:de:ff:00:32|Cellular|imei_1|iccid_89A|imsi_2|msisdn_86") == 0
    for wrong, says in (
        ("03ACDEFF0032", "opens no interface"),
        ("WiFi|LN", "12 hexadecimal digits"),
        ("WiFi", "12 hexadecimal digits"),
        ("Eth|03ACDEFF0032|03ACDEFF0032", "12 hexadecimal digits"),
        ("Cellular|imei_x", "no number of a modem"),
        ("Cellular|serial_1", "no number of a modem"),
        ("Cellular", "no number"),
    ):
        with pytest.raises(ValueError, match=says):
            kit.config_device_info(wrong)
    with pytest.raises(ValueError, match="string"):
        kit.config_device_info(b"WiFi|03ACDEFF0032")


def test_before_a_link():
    kit = LinkKit(**GOOD)
    topic = kit.to_full_topic("user/get")
    assert topic == "/pk/dn/user/get"
    assert kit.to_user_topic(topic) == "user/get"
    assert (kit.get_product(), kit.get_device_name()) == ("pk", "dn")
    for method in (kit.publish_topic, kit.subscribe_topic, kit.unsubscribe_topic, kit.subscribe_rrpc_topic, kit.unsubscribe_rrpc_topic):
        assert method(topic) == (-1, None)
    assert kit.thing_raw_post_data(b"x") == kit.thing_raw_data_reply(b"x") == -1
    assert kit.thing_answer_rrpc("1", b"x") == (1, None)
    assert kit.disconnect() is None
    assert kit.force_reconnect() is None
    assert kit.start_worker_loop() is None
    assert kit.dump_user_topics() == {}
    assert kit.check_state() is LinkKit.LinkKitState.INITIALIZED
    with pytest.raises(LinkKit.StateError, match="connect_async"):
        kit.connect()
    kit.destruct()
    assert kit.check_state() is LinkKit.LinkKitState.DESTRUCTED


def test_a_thing_model_from_a_file_is_to_come():
    kit = LinkKit(**GOOD)
    with pytest.raises(LinkKit.StateError, match="leave the file out"):
        kit.thing_setup("model.json")
    assert kit.thing_setup() == 0
    assert kit.thing_setup() == 1


def test_loggers():
    kit = LinkKit(**GOOD)
    kit.enable_logger(logging.DEBUG)
    assert logging.getLogger("linkkit").level == logging.DEBUG
    kit.config_logger(logging.WARNING)
    assert logging.getLogger("linkkit").level == logging.WARNING
    kit.disable_logger()
    logging.getLogger("linkkit").setLevel(logging.NOTSET)


def test_while_it_is_connected_settings_cannot_be_changed(recorded):
    kit = recorded.online().kit
    for method, arguments in ((kit.config_mqtt, ()), (kit.config_device_info, ("",)), (kit.thing_setup, ()), (kit.connect_async, ())):
        with pytest.raises(LinkKit.StateError):
            method(*arguments)


def test_publishing(recorded, platform, device):
    kit = recorded.online().kit
    topic = kit.to_full_topic("user/update")
    assert kit.publish_topic("") == kit.publish_topic(None) == (-2, None)
    assert kit.publish_topic(topic, "x", 2) == (-3, None)
    with pytest.raises(ValueError, match="129"):
        kit.publish_topic("/" + "x" * 128)
    with pytest.raises(ValueError, match="wildcards"):
        kit.publish_topic(topic + "/#")
    with pytest.raises(TypeError):
        kit.publish_topic(topic, ["list"])
    assert kit.publish_topic(topic, b"x" * (256 * 1024 + 1)) == (-4, None)
    assert kit.publish_topic(topic, b"x" * (256 * 1024)) == (0, 1)
    assert kit.publish_topic(topic, "zero", 0) == (0, 2)
    recorded.wait("on_publish_topic", 2)
    assert sorted(recorded.of("on_publish_topic")) == [(1, None), (2, None)]
    recorded.until(lambda: len(platform.published(device[0])) == 2)


def test_what_the_sidecar_does_not_take_is_logged(recorded, caplog):
    kit = recorded.online().kit
    assert kit.publish_topic("/other/device/user/update", "x") == (0, 1)
    recorded.until(lambda: "message 1 to /other/device/user/update was not sent" in caplog.text)
    assert kit.publish_topic(kit.to_full_topic("user/update"), "x") == (0, 2)
    recorded.wait("on_publish_topic")


def test_no_more_than_max_queued_message_are_without_acknowledgement(make, platform, device, caplog, monkeypatch):
    monkeypatch.setattr("linkkit_sidecar.compat._outgoing._QUIET", 3600.0)
    fault = sandbox_pb2.Fault(device=platform.named(device[0]), swallow_puback=True)
    platform.console.SetFault(sandbox_pb2.SetFaultRequest(fault=fault), timeout=10)
    recorded = make(mqtt={"max_queued_message": 3, "max_inflight_message": 1})
    kit = recorded.online().kit
    topic = kit.to_full_topic("user/update")
    assert [kit.publish_topic(topic, "x")[0] for _ in range(5)] == [0, 0, 0, -4, -4]
    assert caplog.text.count("was not taken") == 1  # not a line for each
    assert kit.publish_topic(topic, "x", 0)[0] == 0
    platform.console.ClearFaults(sandbox_pb2.ClearFaultsRequest(device=platform.named(device[0])), timeout=10)
    platform.console.KickDevice(sandbox_pb2.KickDeviceRequest(device=platform.named(device[0])), timeout=10)
    recorded.wait("on_publish_topic", 3)
    recorded.wait("on_connect", 2)
    recorded.until(lambda: kit.check_state() is LinkKit.LinkKitState.CONNECTED)
    assert kit.publish_topic(topic, "x")[0] == 0


def test_numbers_begin_anew_after_65535(recorded):
    kit = recorded.online().kit
    for _ in range(65534):
        kit._outgoing.number()
    topic = kit.to_full_topic("user/update")
    assert [kit.publish_topic(topic, "x")[1] for _ in range(3)] == [65535, 1, 2]
    recorded.wait("on_publish_topic", 3)


def test_subscribing(recorded, platform, device):
    kit = recorded.online().kit
    topic = kit.to_full_topic("user/get")
    assert kit.subscribe_topic("") == kit.subscribe_topic(5) == kit.subscribe_topic([(None, 0)]) == (-2, None)
    assert kit.subscribe_topic(topic, 2) == kit.subscribe_topic((topic, -1)) == kit.subscribe_topic([(topic, 2)]) == (-3, None)
    for wrong in ("/" + "x" * 128, "/a/#/b", "/a/b+"):
        with pytest.raises(ValueError, match="topic filter"):
            kit.subscribe_topic(wrong)
    with pytest.raises(ValueError, match="empty"):
        kit.subscribe_topic([])
    assert kit.subscribe_topic([(topic, 1), ("/foreign/x/y", 0), (kit.to_full_topic("user/a"), 0)]) == (0, 1)
    assert recorded.wait("on_subscribe_topic") == (1, (1, 128, 0), None)
    assert kit.dump_user_topics() == {topic: 1, kit.to_full_topic("user/a"): 0}
    assert kit.subscribe_topic(topic) == (1, None)
    assert kit.unsubscribe_topic("") == kit.unsubscribe_topic(None) == (-2, None)
    assert kit.unsubscribe_topic("/never") == (1, None)
    assert kit.unsubscribe_topic(["/never"]) == (2, None)
    with pytest.raises(ValueError, match="topic filter"):
        kit.unsubscribe_topic([""])
    assert kit.unsubscribe_topic([topic, "/never"]) == (0, 2)
    assert recorded.wait("on_unsubscribe_topic") == (2, None)
    assert kit.dump_user_topics() == {kit.to_full_topic("user/a"): 0}
    recorded.until(lambda: platform.push(device[0], "user/get", b"x").delivery == sandbox_pb2.DELIVERY_NOT_SUBSCRIBED)


def test_a_hundred_topics_would_be_too_many_and_that_is_told(recorded, caplog):
    kit = recorded.online().kit
    kit.subscribe_topic([(kit.to_full_topic(f"user/{i}"), 1) for i in range(40)])
    assert recorded.wait("on_subscribe_topic")[1] == (1,) * 40
    kit.subscribe_topic([(kit.to_full_topic(f"user/more/{i}"), 1) for i in range(61)])
    assert 128 in recorded.wait("on_subscribe_topic", 2)[1]
    assert "TOO_MANY_SUBSCRIPTIONS" in caplog.text


def test_calls(recorded, platform, device):
    kit = recorded.online().kit
    assert kit.subscribe_rrpc_topic("") == kit.subscribe_rrpc_topic(5) == kit.subscribe_rrpc_topic([""]) == (-2, None)
    assert kit.unsubscribe_rrpc_topic("") == (-2, None)
    assert kit.unsubscribe_rrpc_topic("/x") == (1, None)
    assert kit.unsubscribe_rrpc_topic(["/x"]) == (2, None)
    topic = kit.to_full_topic("user/ask")
    assert kit.subscribe_rrpc_topic(topic[1:])[0] == 0
    assert kit.subscribe_rrpc_topic(topic) == (1, None)
    answers = []

    def answer(call, name, payload, qos, user_data):
        time.sleep(0.2)
        answers.append(kit.thing_answer_rrpc(call, b"to " + payload))

    kit.on_topic_rrpc_message = answer
    request = sandbox_pb2.CallDeviceRequest(device=platform.named(device[0]), topic=topic, payload=b"question")
    request.timeout.FromMilliseconds(1000)
    recorded.until(lambda: platform.console.CallDevice(request, timeout=10).payload == b"to question")
    assert answers[0][0] == 0
    recorded.wait("on_publish_topic")
    assert recorded.wait("on_topic_message")[1] == b"question"  # a call is told twice, as by the vendor's
    # Without a callback for calls, and for calls that are not known, there is on_topic_message.
    kit.on_topic_rrpc_message = None
    before = len(recorded.of("on_topic_message"))
    threading.Thread(target=lambda: platform.console.CallDevice(request, timeout=10)).start()
    recorded.wait("on_topic_message", before + 1)
    assert kit.unsubscribe_rrpc_topic(topic)[0] == 0
    recorded.until(lambda: platform.console.CallDevice(request, timeout=10).outcome == sandbox_pb2.CALL_OUTCOME_NOT_SUBSCRIBED)


def test_only_the_newest_calls_are_known(recorded):
    kit = recorded.online().kit
    kit._rrpc_topics["/t"] = 0
    from linkkit_sidecar.compat._arrivals import Arrival

    for i in range(101):
        kit._has_arrived(Arrival(f"/ext/rrpc/{i}/t", b"", 0, 0))
    recorded.wait("on_topic_rrpc_message", 101)
    assert kit.thing_answer_rrpc("0", b"") == (1, None)
    assert kit.thing_answer_rrpc("1", b"")[0] == 0
    kit.disconnect()
    rc, number = kit.thing_answer_rrpc("2", b"")
    assert rc == 4
    assert number


def test_calls_are_taken_again_after_the_link_was_lost(recorded, platform, device):
    kit = recorded.online().kit
    topic = kit.to_full_topic("user/ask")
    kit.subscribe_rrpc_topic(topic)
    kit.on_topic_rrpc_message = lambda call, *rest: kit.thing_answer_rrpc(call, b"yes")
    request = sandbox_pb2.CallDeviceRequest(device=platform.named(device[0]), topic=topic, payload=b"?")
    recorded.until(lambda: platform.console.CallDevice(request, timeout=10).payload == b"yes")
    platform.console.KickDevice(sandbox_pb2.KickDeviceRequest(device=platform.named(device[0])), timeout=10)
    recorded.wait("on_connect", 2)
    recorded.until(lambda: platform.console.CallDevice(request, timeout=10).payload == b"yes")
    recorded.until(lambda: kit.check_state() is LinkKit.LinkKitState.CONNECTED)
    assert kit.subscribe_rrpc_topic(topic)[0] == 0  # a program that subscribes after each loss is answered as by the vendor's


def test_raw_data_without_its_callbacks_comes_to_on_topic_message(recorded, platform, device):
    kit = recorded.online().kit
    kit.on_thing_raw_data_arrived = kit.on_thing_raw_data_post = None
    assert kit.thing_raw_post_data("text") == 0
    assert kit.thing_raw_post_data(b"x" * (256 * 1024 + 1)) == 1
    topic = f"/sys/{device[0]}/thing/model/down_raw"
    platform.console.PublishDownstream(
        sandbox_pb2.PublishDownstreamRequest(device=platform.named(device[0]), topic=topic, payload=b"raw", qos=0), timeout=10
    )
    assert recorded.wait("on_topic_message") == (topic, b"raw", 0, None)
    assert recorded.of("on_publish_topic") == []


def test_a_message_that_nobody_wants_is_logged(recorded, platform, device, caplog):
    kit = recorded.online().kit
    kit.on_topic_message = None
    kit.subscribe_topic(kit.to_full_topic("user/get"))
    recorded.wait("on_subscribe_topic")
    platform.push(device[0], "user/get", b"x")
    recorded.until(lambda: "on_topic_message is not set" in caplog.text)
