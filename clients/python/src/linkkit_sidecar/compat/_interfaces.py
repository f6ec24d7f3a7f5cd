"""The vendor's string of network interfaces, such as ``WiFi|03ACDEFF0032|Cellular|imei_860000000000001``."""

from __future__ import annotations

import re

from linkkit_sidecar.models import CellularInterface, EthernetInterface, NetworkInterface, WifiInterface

MAX_LENGTH = 160
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}")
_KINDS = ("eth", "wifi", "cellular")
_NUMBERS = {"imei": r"[0-9]{1,20}", "iccid": r"[0-9A-Fa-f]{1,24}", "imsi": r"[0-9]{1,20}", "msisdn": r"[0-9]{1,20}"}


def parse(text: str) -> tuple[NetworkInterface, ...]:
    """Read interfaces from the vendor's string; an empty one is none.

    Raises:
        ValueError: It is not of the platform's form; the message says where.
    """
    if not text:
        return ()
    found: list[NetworkInterface] = []
    tokens = text.split("|")
    while tokens:
        kind = tokens.pop(0)
        if kind.lower() not in _KINDS:
            raise ValueError(f"interface info: {kind!r} opens no interface: write Eth|MAC, WiFi|MAC or Cellular|imei_…|iccid_…|imsi_…|msisdn_…")
        ahead = next((i for i, token in enumerate(tokens) if token.lower() in _KINDS), len(tokens))
        values, tokens = tokens[:ahead], tokens[ahead:]
        found.append(_cellular(values) if kind.lower() == "cellular" else _wired_or_wireless(kind, values))
    return tuple(found)


def _wired_or_wireless(kind: str, values: list[str]) -> NetworkInterface:
    if len(values) != 1 or not _MAC.fullmatch(values[0]):
        raise ValueError(f"interface info: behind {kind!r} stands {'|'.join(values)!r}, where a MAC of 12 hexadecimal digits belongs")
    return EthernetInterface(values[0]) if kind.lower() == "eth" else WifiInterface(values[0])


def _cellular(values: list[str]) -> CellularInterface:
    numbers: dict[str, str] = {}
    for value in values:
        name, _, number = value.partition("_")
        if name not in _NUMBERS or not re.fullmatch(_NUMBERS[name], number):
            raise ValueError(f"interface info: {value!r} is no number of a modem: write imei_, iccid_, imsi_ or msisdn_ and digits")
        numbers[name] = number
    if not numbers:
        raise ValueError("interface info: behind 'Cellular' stands no number")
    return CellularInterface(**numbers)
