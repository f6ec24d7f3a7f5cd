"""Ours has the vendor's whole public API, or it is on the list of what is to come. The list is right in both directions."""

from __future__ import annotations

import enum
import inspect
from typing import Any

import pytest
from linkkit.linkkit import LinkKit as Theirs

from linkkit_sidecar.compat._callbacks import Callback
from linkkit_sidecar.compat._to_come import MEANWHILE, TO_COME, CallbackToCome
from linkkit_sidecar.compat.linkkit import LinkKit

# What the vendor's class has in public and no program uses.
INTERNAL = {"LoopThread": "a helper of its own threads"}

PUBLIC = sorted(name for name in vars(Theirs) if not name.startswith("_") and name not in INTERNAL)


def kind(of: Any, name: str) -> str:
    found = inspect.getattr_static(of, name, None)
    if found is None:
        return "nothing"
    if isinstance(found, (property, Callback)):
        return "callback"
    if isinstance(found, staticmethod):
        return "static method"
    if inspect.isclass(found):
        return "class"
    return "method" if inspect.isfunction(found) else "constant"


@pytest.mark.parametrize("name", PUBLIC)
def test_what_the_vendors_class_has_ours_has(name: str) -> None:
    assert kind(LinkKit, name) == kind(Theirs, name)


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", ["__init__", *(name for name in PUBLIC if kind(Theirs, name) in ("method", "static method"))])
def test_methods_take_the_same_arguments(name: str) -> None:
    assert shape(getattr(LinkKit, name)) == shape(getattr(Theirs, name))


@pytest.mark.parametrize("name", [name for name in PUBLIC if kind(Theirs, name) == "class"])
def test_nested_classes_are_alike(name: str) -> None:
    theirs, ours = getattr(Theirs, name), getattr(LinkKit, name)
    if issubclass(theirs, enum.Enum):
        assert {m.name: m.value for m in ours} == {m.name: m.value for m in theirs}
    assert issubclass(ours, Exception) == issubclass(theirs, Exception)
    for method in (m for m in vars(theirs) if not m.startswith("_") and inspect.isfunction(getattr(theirs, m))):
        assert shape(getattr(ours, method)) == shape(getattr(theirs, method)), method


@pytest.mark.parametrize("name", [name for name in PUBLIC if kind(Theirs, name) == "constant"])
def test_constants_are_the_same(name: str) -> None:
    assert getattr(LinkKit, name) == getattr(Theirs, name)


def test_ours_has_nothing_else_in_public() -> None:
    assert sorted(name for name in dir(LinkKit) if not name.startswith("_")) == PUBLIC


def test_the_list_names_what_the_vendors_class_has() -> None:
    assert set(TO_COME) <= set(PUBLIC)
    assert set(TO_COME.values()) == set(MEANWHILE)


@pytest.mark.parametrize("name", [name for name in PUBLIC if kind(Theirs, name) == "callback"])
def test_a_callback_is_on_the_list_while_it_is_never_called(name: str) -> None:
    assert isinstance(inspect.getattr_static(LinkKit, name), CallbackToCome) == (name in TO_COME)


@pytest.mark.parametrize("name", [name for name in PUBLIC if kind(Theirs, name) == "method"])
def test_a_method_is_on_the_list_while_it_only_says_so(name: str, recorded: Any) -> None:
    says_so = False
    values = [{} for p in shape(getattr(LinkKit, name))[1:] if p[2] is inspect.Parameter.empty]
    if name != "connect_async":
        try:
            getattr(recorded.kit, name)(*values)
        except LinkKit.StateError as error:
            says_so = "is not there yet" in str(error) and "Meanwhile" in str(error)
        except (TypeError, ValueError):
            pass  # it looks at its arguments
    assert says_so == (name in TO_COME)


def test_a_callback_to_come_says_so_when_it_is_set(recorded: Any, caplog: Any) -> None:
    recorded.kit.on_thing_prop_changed = print
    assert recorded.kit.on_thing_prop_changed is print
    assert "on_thing_prop_changed will not be called yet" in caplog.text
    assert "on_topic_message" in caplog.text


def test_the_shadow_document_is_as_the_vendors() -> None:
    for shadow in (Theirs.Shadow(), LinkKit.Shadow()):
        assert shadow.to_dict() == {"state": None, "metadata": None, "version": None, "timestamp": None}
        shadow.set_state({"a": 1})
        shadow.set_metadata({"a": 2})
        shadow.set_version(3)
        shadow.set_timestamp(4)
        shadow.set_latest_recevied_time(5)
        shadow.set_latest_recevied_payload(b"6")
        assert (shadow.get_state(), shadow.get_metadata(), shadow.get_version()) == ({"a": 1}, {"a": 2}, 3)
        assert (shadow.get_latest_recevied_time(), shadow.get_latest_recevied_payload()) == (5, b"6")
        assert shadow.to_json_string() == '{"state": {"a": 1}, "metadata": {"a": 2}, "version": 3, "timestamp": 4}'
