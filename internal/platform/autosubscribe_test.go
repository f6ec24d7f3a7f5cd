package platform

import "testing"

func TestWhatReachesADeviceThatDoesNotSubscribe(t *testing.T) {
	const sys = "/sys" + own
	always := []string{"/ext/register", "/ext/regnwl", "/ext/auth/identity/response", sys + "/broadcast/request/123"}
	auto := []string{
		sys + "/thing/event/property/post_reply", sys + "/thing/event/alarm/post_reply", sys + "/thing/event/property/history/post_reply",
		sys + "/thing/service/property/set", sys + "/thing/service/property/get", sys + "/thing/service/reboot",
		sys + "/thing/model/down_raw", sys + "/thing/model/up_raw_reply",
		sys + "/thing/property/desired/get_reply", sys + "/thing/property/desired/delete_reply",
		sys + "/thing/deviceinfo/update_reply", sys + "/thing/deviceinfo/delete_reply",
		sys + "/thing/dynamicTsl/get_reply", sys + "/thing/dsltemplate/get_reply",
		sys + "/thing/config/push", sys + "/thing/config/get_reply", sys + "/thing/config/log/get_reply", sys + "/thing/config/log/push",
		sys + "/thing/gateway/permit", sys + "/thing/topo/change", sys + "/thing/topo/add_reply", sys + "/thing/topo/delete_reply", sys + "/thing/topo/get_reply",
		sys + "/thing/sub/register_reply", sys + "/thing/sub/unregister_reply", sys + "/thing/proxy/provisioning/product_register_reply",
		sys + "/thing/disable_reply", sys + "/thing/reset_reply", sys + "/thing/cipher/get_reply",
		sys + "/thing/job/notify", sys + "/thing/job/get_reply", sys + "/thing/job/update_reply",
		sys + "/thing/lan/prefix/get_reply", sys + "/thing/lan/prefix/update", sys + "/thing/lan/blacklist/update_reply",
		sys + "/thing/awss/enrollee/match_reply", sys + "/thing/awss/enrollee/checkin", sys + "/thing/awss/enrollee/found_reply", sys + "/thing/awss/device/switchap",
		sys + "/thing/bootstrap/config/push", sys + "/thing/bootstrap/notify", sys + "/thing/ota/firmware/get_reply",
		sys + "/rrpc/request/123", sys + "/_thing/event/notify", sys + "/_thing/service/post_reply",
		"/ota/device/upgrade" + own, "/ota/device/request" + own, "/shadow/get" + own,
		"/ext/ntp" + own + "/response", "/ext/session" + own + "/combine/login_reply", "/ext/session" + own + "/combine/batch_logout_reply",
		"/ext/rrpc/123" + sys + "/thing/service/reboot", "/ext/rrpc/123" + sys + "/thing/model/down_raw",
	}
	never := []string{
		"", "/", own, sys, sys + "/",
		sys + "/thing/event/property/batch/post_reply", sys + "/thing/deviceinfo/get_reply",
		sys + "/thing/file/upload/mqtt/init_reply", sys + "/thing/file/download_reply", sys + "/codec/topic/update_reply",
		own + "/user/get", "/ext/rrpc/123" + own + "/user/get", "/ext/rrpc/123" + sys + "/thing", "/broadcast/a1B2c3D4e5F/all",
		"/ext/session" + own + "/combine/login", "/ext/ntp" + own + "/request", "/ota/device/inform" + own, "/shadow/update" + own,
		"/sys/a1B2c3D4e5F/dev-002/thing/service/reboot", "/sys/a1B2c3D4e5F/dev-002/broadcast/request/1", "/shadow/get/a1B2c3D4e5F/dev-002",
		"/ext/rrpc/123/sys/a1B2c3D4e5F/dev-002/thing/service/reboot",
	}
	for class, topics := range [][]string{never, auto, always} {
		for _, topic := range topics {
			if gotAuto, gotAlways := AutoSubscribed(dev001, topic), AlwaysPushed(dev001, topic); gotAuto != (class > 0) || gotAlways != (class == 2) {
				t.Errorf("%q: AutoSubscribed %v, AlwaysPushed %v", topic, gotAuto, gotAlways)
			}
		}
	}
}
