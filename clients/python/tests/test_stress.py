"""Everything at once while the sidecar is killed and restarted at random, and a ledger that must balance."""

from __future__ import annotations

import itertools
import random
import threading
import time
from datetime import datetime, timezone

from test_client import wait_for

import linkkit_sidecar as lk

SEED = 20240229


def test_the_books_balance_after_restarts(make_client, sidecar, platform, device):
    chance = random.Random(SEED)
    up, stop = device[0].topic("user/update"), threading.Event()
    sent, handled, followed, heard, faults = [], {}, [], [], []

    def working(work):
        def run():
            try:
                work()
            except Exception as error:
                faults.append((work.__name__, error))

        return threading.Thread(target=run)

    with make_client(sidecar.address, device=device[0], resume_timeout=30) as client:
        client.connect(credential=device[1], endpoint=platform.endpoint, tls=platform.tls)
        publisher = client.publisher(window=64)
        numbers = itertools.count()

        def publish():
            while not stop.is_set():
                number = next(numbers)
                assurance = lk.Assurance.STORED if number % 2 else lk.Assurance.CONFIRMED
                payload = f"{assurance.name} {number}".encode()
                sent.append((payload, publisher.publish(up, payload, assurance=assurance)))
                time.sleep(0.004)

        def push():
            for number in itertools.count():
                if stop.wait(0.01):
                    return
                platform.push(device[0], "user/get", str(number).encode())

        def handle(delivery):
            before = handled.setdefault(delivery.sequence, [])
            before.append(delivery.payload)
            if delivery.sequence % 5 == 0 and len(before) == 1:
                raise lk.Retry(0.05)
            if delivery.sequence % 7 == 0 and len(before) == 1:
                raise RuntimeError("on purpose")

        def follow():
            with client.events() as events:
                while not stop.is_set():
                    try:
                        followed.append(events.next(0.2))
                    except lk.DeadlineExceededError:
                        continue

        def subscribe():
            with client.messages(device[0].topic("user/get")) as messages:
                while not stop.is_set():
                    try:
                        heard.append(messages.next(0.2))
                    except lk.DeadlineExceededError:
                        continue

        with client.consume("jobs", handle, filters=[device[0].topic("user/get")], workers=2, retry_delay=0.05) as consumer:
            consumer.wait_granted(10)
            threads = [working(one) for one in (publish, publish, push, follow, subscribe)]
            for thread in threads:
                thread.start()
            for _ in range(4):
                time.sleep(chance.uniform(0.2, 0.7))
                chance.choice((sidecar.kill, sidecar.stop))()
                time.sleep(chance.uniform(0, 0.2))
                restarted = datetime.now(timezone.utc)
                sidecar.start()
            before = len(heard)
            wait_for(lambda: any(isinstance(one, lk.Online) and one.time > restarted for one in list(followed)))
            wait_for(lambda: len(heard) > before + 1)
            stop.set()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
            assert not faults
            publisher.flush(20)
            # The platform may still be sending to a link that is new.
            quiet_for(lambda: (len(handled), client.list_inboxes()[0].messages), lambda state: state[1] == 0)
        publisher.close()

        receipts, refused = {}, {}
        for payload, future in sent:
            try:
                receipts[payload] = future.result(0)
            except lk.SidecarError as error:
                refused[payload] = error
        assert not [payload for payload in refused if payload.startswith(b"STORED")]
        assert {type(error) for error in refused.values()} <= {lk.OutcomeUnknownError, lk.NotOnlineError}
        stored = {payload: receipt.sequence for payload, receipt in receipts.items() if payload.startswith(b"STORED")}
        assert len(set(stored.values())) == len(stored)  # each was taken once
        quiet_for(lambda: len(set(receipts) - set(platform.published(device[0]))), lambda missing: missing == 0)
        assert client.list_inboxes()[0].messages == 0
        assert client.get_device().queue.stored_messages == 0

    assert len(stored) > 50
    assert not any(isinstance(one, lk.Gap) for one in followed)
    places = [(one.cursor.epoch, one.cursor.sequence) for one in followed if not isinstance(one, lk.Snapshot)]
    assert len(set(places)) == len(places)  # none came twice
    assert any(isinstance(one, lk.Gap) for one in heard)
    assert sorted(handled) == list(range(1, len(handled) + 1))  # no number of the inbox was passed over
    assert all(len(set(payloads)) == 1 for payloads in handled.values())
    assert all(len(payloads) > 1 for sequence, payloads in handled.items() if sequence % 5 == 0 or sequence % 7 == 0)


def quiet_for(look, good, seconds=0.3, within=20):
    """Wait until what is seen is good and has not changed for a while."""
    deadline = time.monotonic() + within
    state, since = look(), time.monotonic()
    while not (good(state) and time.monotonic() - since >= seconds):
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
        if (now := look()) != state:
            state, since = now, time.monotonic()
