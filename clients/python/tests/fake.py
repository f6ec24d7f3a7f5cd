"""A sidecar whose answers a test writes itself, for what the real one does only in a bad moment."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from linkkit_sidecar.v1 import connectivity_pb2_grpc, messaging_pb2, messaging_pb2_grpc


class FakeSidecar(messaging_pb2_grpc.MessagingServiceServicer, connectivity_pb2_grpc.ConnectivityServiceServicer):
    """Its methods are what a test sets: generators of what to answer, given the requests and gRPC's context."""

    def __init__(self, address):
        self.address = address
        self.over = threading.Event()
        self.server = None

    def start(self):
        self.server = grpc.server(ThreadPoolExecutor(32))
        messaging_pb2_grpc.add_MessagingServiceServicer_to_server(self, self.server)
        connectivity_pb2_grpc.add_ConnectivityServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(self.address)
        self.server.start()
        return self

    def stop(self):
        self.over.set()
        if self.server is not None:
            self.server.stop(0).wait()


def acknowledge(requests, context):
    """Answer each message at once."""
    for request in requests:
        yield messaging_pb2.PublishStreamResponse(receipts=[receipt(one) for one in request.messages])


def receipt(message, outcome=messaging_pb2.OUTCOME_ACKNOWLEDGED):
    return messaging_pb2.Receipt(id=message.id, outcome=outcome)


def delivery(number, payload=b""):
    return messaging_pb2.Delivery(delivery=number, message=messaging_pb2.IncomingMessage(topic="/a/b/c", payload=payload), count=1, sequence=number)


def collected(requests, into):
    """Read requests on another thread, so that answers do not wait for them. A None follows the last."""

    def read():
        try:
            for request in requests:
                into.put(request)
        except Exception:  # the stream was cut
            pass
        into.put(None)

    threading.Thread(target=read, daemon=True).start()


def all_of(into, within=10):
    """What was collected until its end."""
    deadline = time.monotonic() + within
    got = []
    while (one := into.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
        got.append(one)
    return got


class Collected(queue.Queue):
    """Requests of one stream."""

    def __init__(self, requests):
        super().__init__()
        collected(requests, self)
