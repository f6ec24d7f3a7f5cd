"""What the vendor's class has and this one has not yet: one list, and what it means for each name on it."""

from __future__ import annotations

from typing import Any, NoReturn

from ._callbacks import Callback, Function
from ._log import Log
from ._values import StateError

_MODEL = "the thing model"
_TAGS = "tags"
_SHADOW = "the device's shadow"
_OTA = "firmware updates"
_GATEWAY = "sub-devices of a gateway"

MEANWHILE = {
    _MODEL: "publish to /sys/PRODUCT_KEY/DEVICE_NAME/thing/event/… with publish_topic; requests and replies come to on_topic_message",
    _TAGS: "publish to /sys/PRODUCT_KEY/DEVICE_NAME/thing/deviceinfo/… with publish_topic; replies come to on_topic_message",
    _SHADOW: "publish to /shadow/update/PRODUCT_KEY/DEVICE_NAME with publish_topic; /shadow/get/… comes to on_topic_message",
    _OTA: "publish to /ota/device/inform/PRODUCT_KEY/DEVICE_NAME with publish_topic; /ota/device/upgrade/… comes to on_topic_message",
    _GATEWAY: "publish to /sys/PRODUCT_KEY/DEVICE_NAME/thing/topo/… with publish_topic; replies come to on_topic_message",
}
"""What a program can do until then: the platform's topics are open to it."""

TO_COME = {
    "thing_post_property": _MODEL,
    "thing_trigger_event": _MODEL,
    "thing_answer_service": _MODEL,
    "on_thing_prop_changed": _MODEL,
    "on_thing_prop_post": _MODEL,
    "on_thing_event_post": _MODEL,
    "on_thing_call_service": _MODEL,
    "thing_update_device_info": _TAGS,
    "thing_delete_device_info": _TAGS,
    "thing_update_tags": _TAGS,
    "thing_remove_tags": _TAGS,
    "on_thing_device_info_update": _TAGS,
    "on_thing_device_info_delete": _TAGS,
    "thing_update_shadow": _SHADOW,
    "thing_get_shadow": _SHADOW,
    "local_get_latest_shadow": _SHADOW,
    "on_thing_shadow_get": _SHADOW,
    "query_ota_firmware": _OTA,
    "ota_report_version": _OTA,
    "download_ota_firmware": _OTA,
    "on_ota_message_arrived": _OTA,
    "gateway_add_subdev_topo": _GATEWAY,
    "gateway_delete_subdev_topo": _GATEWAY,
    "gateway_login_subdev": _GATEWAY,
    "gateway_logout_subdev": _GATEWAY,
    "gateway_register_subdev": _GATEWAY,
    "gateway_product_register_subdev": _GATEWAY,
    "on_gateway_add_subdev_topo_reply": _GATEWAY,
    "on_gateway_delete_subdev_topo_reply": _GATEWAY,
    "on_gateway_login_subdev_reply": _GATEWAY,
    "on_gateway_logout_subdev_reply": _GATEWAY,
    "on_gateway_register_subdev_reply": _GATEWAY,
    "on_gateway_product_register_subdev_reply": _GATEWAY,
    "on_gateway_topo_change": _GATEWAY,
}
"""Methods, which raise StateError, and callbacks, which are never called and say so when they are set; each with what it belongs to."""


def _raise(name: str) -> NoReturn:
    what = TO_COME[name]
    raise StateError(f"{name} is not there yet: linkkit-sidecar does not do {what} for you. Meanwhile {MEANWHILE[what]}")


class CallbackToCome(Callback):
    """A callback that is never called yet."""

    def __init__(self) -> None:
        super().__init__("…", "never: see `TO_COME`")

    def __set__(self, kit: Any, function: Function | None) -> None:
        super().__set__(kit, function)
        if function is not None:
            what = TO_COME[self.name]
            log: Log = kit._log
            log.warning("%s will not be called yet: linkkit-sidecar does not do %s for you. Meanwhile %s", self.name, what, MEANWHILE[what])


class ToCome:
    """The vendor's methods and callbacks that are on the list."""

    on_thing_prop_changed = CallbackToCome()
    on_thing_prop_post = CallbackToCome()
    on_thing_event_post = CallbackToCome()
    on_thing_call_service = CallbackToCome()
    on_thing_device_info_update = CallbackToCome()
    on_thing_device_info_delete = CallbackToCome()
    on_thing_shadow_get = CallbackToCome()
    on_ota_message_arrived = CallbackToCome()
    on_gateway_add_subdev_topo_reply = CallbackToCome()
    on_gateway_delete_subdev_topo_reply = CallbackToCome()
    on_gateway_login_subdev_reply = CallbackToCome()
    on_gateway_logout_subdev_reply = CallbackToCome()
    on_gateway_register_subdev_reply = CallbackToCome()
    on_gateway_product_register_subdev_reply = CallbackToCome()
    on_gateway_topo_change = CallbackToCome()

    def thing_post_property(self, property_data: Any) -> Any:
        _raise("thing_post_property")

    def thing_trigger_event(self, event_tuple: Any) -> Any:
        _raise("thing_trigger_event")

    def thing_answer_service(self, identifier: Any, request_id: Any, code: Any, data: Any = None) -> Any:
        _raise("thing_answer_service")

    def thing_update_device_info(self, payload: Any) -> Any:
        _raise("thing_update_device_info")

    def thing_delete_device_info(self, payload: Any) -> Any:
        _raise("thing_delete_device_info")

    def thing_update_tags(self, tagMap: Any) -> Any:  # noqa: N803  # the vendor's name
        _raise("thing_update_tags")

    def thing_remove_tags(self, tagKeys: Any) -> Any:  # noqa: N803  # the vendor's name
        _raise("thing_remove_tags")

    def thing_update_shadow(self, reported: Any, version: Any) -> Any:
        _raise("thing_update_shadow")

    def thing_get_shadow(self) -> Any:
        _raise("thing_get_shadow")

    def local_get_latest_shadow(self) -> Any:
        _raise("local_get_latest_shadow")

    def query_ota_firmware(self, module: Any = None) -> Any:
        _raise("query_ota_firmware")

    def ota_report_version(self, module: Any, version: Any) -> Any:
        _raise("ota_report_version")

    def download_ota_firmware(self, url: Any, local_path: Any, sign_method: Any, sign: Any, download_step: int = 10 * 1024) -> Any:
        _raise("download_ota_firmware")

    def gateway_add_subdev_topo(self, subdev_array: Any) -> Any:
        _raise("gateway_add_subdev_topo")

    def gateway_delete_subdev_topo(self, subdev_array: Any) -> Any:
        _raise("gateway_delete_subdev_topo")

    def gateway_login_subdev(self, subdev_array: Any) -> Any:
        _raise("gateway_login_subdev")

    def gateway_logout_subdev(self, subdev_array: Any) -> Any:
        _raise("gateway_logout_subdev")

    def gateway_register_subdev(self, subdev_array: Any) -> Any:
        _raise("gateway_register_subdev")

    def gateway_product_register_subdev(self, subdev_array: Any) -> Any:
        _raise("gateway_product_register_subdev")
