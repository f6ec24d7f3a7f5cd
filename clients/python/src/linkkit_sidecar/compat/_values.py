"""The vendor's enumerations, its error, and its shadow document."""

from __future__ import annotations

import json
import threading
from enum import Enum
from typing import Any


class LinkKitState(Enum):
    """Where a LinkKit object stands."""

    INITIALIZED = 1
    CONNECTING = 2
    CONNECTED = 3
    DISCONNECTING = 4
    DISCONNECTED = 5
    DESTRUCTING = 6
    DESTRUCTED = 7


class ErrorCode(Enum):
    """What methods return beside 0, and what some callbacks are told."""

    SUCCESS = 0
    NETWORK_DISCONNECTED = -0x001
    INVALID_TOPIC = -0x002
    INVALID_QOS = -0x003
    PAHO_MQTT_ERROR = -0x004
    NULL_SUBDEV_ERR = -0x101
    SUBDEV_NOT_ARRAY_ERR = -0x102
    ARRAY_LENGTH_ERR = -0x103
    DYNREG_AUTH_FAILED = -0x301
    DYNREG_AUTH_NWL_FAILED = -0x302
    OTA_INVALID_PARAM = -0x401
    OTA_DIGEST_MISMATCH = -0x402
    OTA_PUB_FAILED = -0x403
    OTA_INVALID_SIGN_METHOD = -0x404
    OTA_DOWNLOAD_FAIL = -0x405
    OTA_INVALID_URL = -0x406
    OTA_INVALID_PATH = -0x407


class StateError(Exception):
    """The object is in a state in which this cannot be done, or it is not supported."""

    def __init__(self, err: str) -> None:
        super().__init__(err)


class Shadow:
    """A shadow document as it was last received. Times are in milliseconds; the misspelt names are the vendor's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, Any] = dict.fromkeys(("state", "metadata", "version", "timestamp", "received_time", "received_payload"))

    def _get(self, name: str) -> Any:
        with self._lock:
            return self._values[name]

    def _set(self, name: str, value: Any) -> None:
        with self._lock:
            self._values[name] = value

    def get_version(self) -> Any:
        return self._get("version")

    def get_metadata(self) -> Any:
        return self._get("metadata")

    def get_state(self) -> Any:
        return self._get("state")

    def set_state(self, state: Any) -> None:
        self._set("state", state)

    def set_metadata(self, metadata: Any) -> None:
        self._set("metadata", metadata)

    def set_version(self, version: Any) -> None:
        self._set("version", version)

    def set_timestamp(self, timestamp: Any) -> None:
        self._set("timestamp", timestamp)

    def set_latest_recevied_time(self, timestamp: Any) -> None:
        self._set("received_time", timestamp)

    def get_latest_recevied_time(self) -> Any:
        return self._get("received_time")

    def set_latest_recevied_payload(self, payload: Any) -> None:
        self._set("received_payload", payload)

    def get_latest_recevied_payload(self) -> Any:
        return self._get("received_payload")

    def to_dict(self) -> dict[str, Any]:
        with self._lock:
            return {name: self._values[name] for name in ("state", "metadata", "version", "timestamp")}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict())
