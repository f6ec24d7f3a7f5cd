"""Topic filters: which reach a device unasked, and what a filter matches."""

from __future__ import annotations

from linkkit_sidecar.models import Device

# What the platform sends to a login with _ss=1 without being asked, below /sys/PRODUCT_KEY/DEVICE_NAME/. The sidecar knows the same list
# and sends no SUBSCRIBE for these; it delivers what matches the filters that a program gives.
_SYSTEM = (
    "broadcast/request/+",
    "rrpc/request/+",
    "_thing/event/notify",
    "_thing/service/post_reply",
    "thing/model/down_raw",
    "thing/model/up_raw_reply",
    "thing/event/+/post_reply",
    "thing/event/property/history/post_reply",
    "thing/service/+",
    "thing/service/property/set",
    "thing/service/property/get",
    "thing/property/desired/get_reply",
    "thing/property/desired/delete_reply",
    "thing/dynamicTsl/get_reply",
    "thing/dsltemplate/get_reply",
    "thing/deviceinfo/update_reply",
    "thing/deviceinfo/delete_reply",
    "thing/config/push",
    "thing/config/get_reply",
    "thing/config/log/get_reply",
    "thing/config/log/push",
    "thing/job/notify",
    "thing/job/get_reply",
    "thing/job/update_reply",
    "thing/ota/firmware/get_reply",
    "thing/bootstrap/notify",
    "thing/bootstrap/config/push",
    "thing/disable_reply",
    "thing/reset_reply",
    "thing/cipher/get_reply",
    "thing/gateway/permit",
    "thing/topo/change",
    "thing/topo/add_reply",
    "thing/topo/delete_reply",
    "thing/topo/get_reply",
    "thing/sub/register_reply",
    "thing/sub/unregister_reply",
    "thing/proxy/provisioning/product_register_reply",
    "thing/lan/prefix/get_reply",
    "thing/lan/prefix/update",
    "thing/lan/blacklist/update_reply",
    "thing/awss/enrollee/match_reply",
    "thing/awss/enrollee/checkin",
    "thing/awss/enrollee/found_reply",
    "thing/awss/device/switchap",
)
_OTHERS = (
    "/ext/session/{0}/{1}/combine/login_reply",
    "/ext/session/{0}/{1}/combine/logout_reply",
    "/ext/session/{0}/{1}/combine/batch_login_reply",
    "/ext/session/{0}/{1}/combine/batch_logout_reply",
    "/ext/ntp/{0}/{1}/response",
    "/ext/rrpc/+/sys/{0}/{1}/thing/service/+",
    "/ext/rrpc/+/sys/{0}/{1}/thing/service/property/set",
    "/ext/rrpc/+/sys/{0}/{1}/thing/service/property/get",
    "/ext/rrpc/+/sys/{0}/{1}/thing/model/down_raw",
    "/ota/device/upgrade/{0}/{1}",
    "/ota/device/request/{0}/{1}",
    "/shadow/get/{0}/{1}",
)


def unasked(device: Device) -> tuple[str, ...]:
    """The filters of all that the platform sends to the device without its subscribing."""
    names = (device.product_key, device.device_name)
    return tuple(f"/sys/{device}/{rest}" for rest in _SYSTEM) + tuple(form.format(*names) for form in _OTHERS)


def matches(filter: str, topic: str) -> bool:
    """Whether the topic matches the filter, by MQTT's rules."""
    wanted, given = filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(given) or level not in ("+", given[i]):
            return False
    return len(wanted) == len(given)


def valid(filter: str) -> bool:
    """Whether the wildcards stand where MQTT lets them stand."""
    levels = filter.split("/")
    return all(level in ("+", "#") or ("+" not in level and "#" not in level) for level in levels) and "#" not in levels[:-1]
