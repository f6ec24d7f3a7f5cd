package platform

import (
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// AlwaysPushed reports whether the platform sends on the topic to every device, subscribed or not.
func AlwaysPushed(id device.ID, topic string) bool {
	switch topic {
	case topicRegister, topicRegNwl, "/ext/auth/identity/response":
		return true
	}
	own, found := afterDevice(topic, "/sys", id)
	return found && MatchFilter("broadcast/request/+", own)
}

// AutoSubscribed reports whether the topic reaches a device that logged in with the parameter _ss=1 without its subscribing:
// what is always pushed, the platform's documented list, and what the vendor's SDKs rely on beyond it. Notably not among them
// are the replies to batches of properties, file uploads and tags read, custom topics, and RRPC on custom topics.
func AutoSubscribed(id device.ID, topic string) bool {
	if AlwaysPushed(id, topic) {
		return true
	}
	if own, found := afterDevice(topic, "/sys", id); found {
		return MatchAny(autoSystem, own)
	}
	if own, found := afterDevice(topic, "/ext/session", id); found {
		return MatchFilter("combine/+", own) && strings.HasSuffix(own, "_reply")
	}
	if own, found := afterDevice(topic, "/ext/ntp", id); found {
		return own == "response"
	}
	if strings.HasPrefix(topic, "/ext/rrpc/") {
		own, found := afterDevice(withoutRRPC(topic), "/sys", id)
		return found && MatchFilter("thing/#", own) && own != "thing"
	}
	name := "/" + id.ProductKey + "/" + id.DeviceName
	return topic == "/ota/device/upgrade"+name || topic == "/ota/device/request"+name || topic == "/shadow/get"+name
}

// AutoSubscribedFilter reports whether all topics that the filter matches are AutoSubscribed, so that subscribing would be needless.
func AutoSubscribedFilter(id device.ID, filter string) bool {
	// A "+" in the filter is matched by one in the list. A "#" reaches further than any entry of the list.
	return !strings.Contains(filter, "#") && AutoSubscribed(id, filter)
}

// afterDevice is what follows PREFIX/PRODUCT_KEY/DEVICE_NAME/ in the topic.
func afterDevice(topic, prefix string, id device.ID) (rest string, found bool) {
	for _, part := range [...]string{prefix, "/", id.ProductKey, "/", id.DeviceName, "/"} {
		if topic, found = strings.CutPrefix(topic, part); !found {
			return "", false
		}
	}
	return topic, true
}

// MatchAny reports whether one of the filters matches the topic.
func MatchAny(filters []string, topic string) bool {
	for _, filter := range filters {
		if MatchFilter(filter, topic) {
			return true
		}
	}
	return false
}

// autoSystem are the filters below /sys/PRODUCT_KEY/DEVICE_NAME/.
var autoSystem = []string{
	"rrpc/request/+",
	"_thing/event/notify",
	"_thing/service/post_reply",
	// Properties, events, services, the thing's model.
	"thing/model/down_raw",
	"thing/model/up_raw_reply",
	"thing/event/+/post_reply",
	"thing/event/property/history/post_reply",
	"thing/service/property/set",
	"thing/service/property/get",
	"thing/service/+",
	"thing/property/desired/get_reply",
	"thing/property/desired/delete_reply",
	"thing/dynamicTsl/get_reply",
	"thing/dsltemplate/get_reply",
	// Tags, configuration, jobs, firmware, life cycle.
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
	// Gateways and their sub-devices.
	"thing/gateway/permit",
	"thing/topo/change",
	"thing/topo/add_reply",
	"thing/topo/delete_reply",
	"thing/topo/get_reply",
	"thing/sub/register_reply",
	"thing/sub/unregister_reply",
	"thing/proxy/provisioning/product_register_reply",
	// The local network and Wi-Fi provisioning.
	"thing/lan/prefix/get_reply",
	"thing/lan/prefix/update",
	"thing/lan/blacklist/update_reply",
	"thing/awss/enrollee/match_reply",
	"thing/awss/enrollee/checkin",
	"thing/awss/enrollee/found_reply",
	"thing/awss/device/switchap",
}
