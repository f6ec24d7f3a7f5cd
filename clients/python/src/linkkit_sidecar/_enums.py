"""The base of all enumerations here."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeVar

E = TypeVar("E", bound="OpenEnum")


class OpenEnum(IntEnum):
    """An enumeration that a newer sidecar may extend: a number without a name becomes a member named ``UNRECOGNIZED_number``."""

    @classmethod
    def _missing_(cls: type[E], value: object) -> Any:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNRECOGNIZED_{value}"
        member._value_ = value
        return member
