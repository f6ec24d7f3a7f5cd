"""Messages come once and in their order while subscriptions change."""

from __future__ import annotations

import itertools
import threading

import pytest

from linkkit_sidecar.compat._filters import matches, valid
from linkkit_sidecar.sandbox.v1 import sandbox_pb2


def test_nothing_is_lost_or_doubled_or_out_of_turn_while_subscriptions_change(recorded, platform, device):
    kit = recorded.online().kit
    kit.subscribe_topic(kit.to_full_topic("user/steady"))
    recorded.wait("on_subscribe_topic")
    stop = threading.Event()
    steady: list[int] = []
    count = 0

    def push() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            if count % 2:
                steady.append(count)
            # Of one QoS: the platform may let others overtake.
            platform.push(device[0], "user/steady" if count % 2 else f"user/other/{count % 20}", str(count).encode())

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        for i in range(1, 16):
            topic = kit.to_full_topic(f"user/other/{i}")
            kit.subscribe_topic(topic)
            recorded.wait("on_subscribe_topic", i + 1)
            if i % 3:
                kit.unsubscribe_topic(topic)
                recorded.wait("on_unsubscribe_topic", i - i // 3)
    finally:
        stop.set()
        pusher.join()
    recorded.until(lambda: len([one for one in got(recorded) if one % 2]) == len(steady))
    assert [one for one in got(recorded) if one % 2] == steady
    assert len(got(recorded)) > len(steady)
    out_of_turn = [pair for pair in itertools.pairwise(got(recorded)) if pair[0] >= pair[1]]
    # A message of a new topic may come between the platform's answer and the sidecar's news of it.
    assert len(out_of_turn) <= 2, out_of_turn
    assert kit._arrivals.missed == 0


def got(recorded):
    return [int(one[1]) for one in recorded.of("on_topic_message")]


def test_filters_that_overlap_bring_a_message_once(recorded, platform, device):
    kit = recorded.online().kit
    kit.subscribe_topic([(kit.to_full_topic("user/+"), 1), (kit.to_full_topic("user/get"), 1), (kit.to_full_topic("#"), 1)])
    recorded.wait("on_subscribe_topic")
    platform.push(device[0], "user/get", b"once")
    platform.push(device[0], "user/a/b", b"last")
    recorded.wait("on_topic_message", 2)
    assert [one[1] for one in recorded.of("on_topic_message")] == [b"once", b"last"]


def test_a_filter_that_is_refused_on_a_new_link_ends_only_itself(recorded, platform, device, caplog):
    kit = recorded.online().kit
    kit.subscribe_topic([(kit.to_full_topic("user/get"), 1), (kit.to_full_topic("user/gone"), 1)])
    recorded.wait("on_subscribe_topic")
    recorded.until(lambda: kit._arrivals._joining is None)
    current = kit._arrivals._current
    kit._arrivals._broke(current, _refusal())
    recorded.until(lambda: kit._arrivals._current not in (None, current))
    platform.push(device[0], "user/get", b"still")
    recorded.wait("on_topic_message")
    assert "are made anew" in caplog.text


def _refusal() -> Exception:
    from linkkit_sidecar import RefusedError

    return RefusedError("the platform refused a filter", reason="SUBSCRIPTION_REFUSED")


def test_a_gap_is_told_and_counted(make, configured, platform, device, caplog, monkeypatch):
    from linkkit_sidecar.compat._arrivals import Arrivals

    configured.max_waiting = 1
    free = threading.Event()
    take = Arrivals._take

    def slow(arrivals: Arrivals, stream: object, items: list[object]) -> None:
        free.wait(30)
        take(arrivals, stream, items)

    monkeypatch.setattr(Arrivals, "_take", slow)
    recorded = make().online()
    recorded.kit.subscribe_topic(recorded.kit.to_full_topic("user/get"))
    recorded.wait("on_subscribe_topic")
    # What gRPC and this process have read does not wait in the sidecar, so there must be much.
    for i in range(40):
        platform.push(device[0], "user/get", bytes([i]) * 200_000)
    free.set()
    recorded.until(lambda: "messages are missing" in caplog.text)
    assert recorded.kit._arrivals.missed


def test_what_the_platform_sends_unasked_arrives(recorded, platform, device):
    recorded.online()
    topics = [
        f"/sys/{device[0]}/thing/config/push",
        f"/sys/{device[0]}/thing/service/reboot",
        f"/sys/{device[0]}/thing/service/property/set",
        f"/sys/{device[0]}/thing/event/property/post_reply",
        f"/sys/{device[0]}/rrpc/request/17",
        f"/ext/rrpc/18/sys/{device[0]}/thing/service/reboot",
        f"/ext/ntp/{device[0]}/response",
        f"/ext/session/{device[0]}/combine/batch_login_reply",
        f"/ota/device/upgrade/{device[0]}",
        f"/shadow/get/{device[0]}",
    ]
    for topic in topics:
        request = sandbox_pb2.PublishDownstreamRequest(device=platform.named(device[0]), topic=topic, payload=b"{}", qos=0)
        assert platform.console.PublishDownstream(request, timeout=10).delivery == sandbox_pb2.DELIVERY_SENT
    recorded.wait("on_topic_message", len(topics))
    assert [one[0] for one in recorded.of("on_topic_message")] == topics


@pytest.mark.parametrize(
    ("filter", "topic", "yes"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/b/c", False),
        ("/a/+", "/a/b", True),
        ("/a/+", "/a/b/c", False),
        ("/a/+/c", "/a/b/c", True),
        ("/a/#", "/a/b/c", True),
        ("/a/#", "/a", True),
        ("#", "/a", True),
        ("/a/b/c", "/a/b", False),
    ],
)
def test_what_a_filter_matches(filter, topic, yes):
    assert matches(filter, topic) is yes


@pytest.mark.parametrize(("filter", "yes"), [("/a/+/#", True), ("/a/#/b", False), ("/a/b#", False), ("/a/+b", False), ("#", True)])
def test_where_wildcards_stand(filter, yes):
    assert valid(filter) is yes
