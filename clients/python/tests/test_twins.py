"""The two clients offer the same: the same names, parameters, defaults and words."""

from __future__ import annotations

import inspect
import re

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar import aio, client
from linkkit_sidecar.v1 import connectivity_pb2, messaging_pb2

# What each rpc is called here, where the name says it better.
RPCS = {"PublishStream": "publisher", "Subscribe": "messages", "AnswerCalls": "on_call"}


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("name", client.__all__)
def test_the_twins_have_the_same_members(name):
    assert public(getattr(client, name)) == public(getattr(aio, name))


@pytest.mark.parametrize("kind", client.__all__)
def test_the_twins_have_the_same_parameters(kind):
    for name in public(getattr(aio, kind)):
        blocking, asynchronous = (getattr(getattr(module, kind), name) for module in (client, aio))
        if not callable(blocking):
            continue
        ours = inspect.signature(blocking).parameters
        theirs = inspect.signature(asynchronous).parameters
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [(p.name, p.kind, p.default) for p in theirs.values()], name


@pytest.mark.parametrize("kind", client.__all__)
def test_the_twins_are_documented_in_the_same_words(kind):
    for name in public(getattr(aio, kind)):
        blocking, asynchronous = (inspect.getdoc(getattr(getattr(module, kind), name)) for module in (client, aio))
        assert blocking, name
        assert asynchronous, name
        if (kind, name) in DIFFER:
            assert blocking != asynchronous, f"{kind}.{name} no longer differs"
        else:
            assert plain(blocking) == plain(asynchronous), name


# These say something of threads or tasks.
DIFFER = {
    ("EventStream", "close"),
    ("MessageStream", "close"),
    ("Publisher", "publish"),
    ("Consumer", "wait"),
    ("CallHandler", "wait"),
    ("SidecarClient", "consume"),
    ("SidecarClient", "on_call"),
}


def plain(text):
    return " ".join(re.sub(r"\b(an?) async |\basync ", lambda m: "a " if m[1] else "", text).replace("An iterator", "a iterator").split())


@pytest.mark.parametrize(
    "service", [connectivity_pb2.DESCRIPTOR.services_by_name["ConnectivityService"], messaging_pb2.DESCRIPTOR.services_by_name["MessagingService"]]
)
def test_every_rpc_has_its_method(service):
    for method in service.methods:
        name = RPCS.get(method.name) or re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()
        assert callable(getattr(lk.SidecarClient, name))
