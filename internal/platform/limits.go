package platform

import "time"

// The platform's limits, from its documentation of "limits" unless another source is named. Where editions disagree, the
// stricter number is here: keeping to it satisfies both.
const (
	// MinKeepAlive and MaxKeepAlive bound MQTT's keep alive, in seconds: the platform refuses a login outside them.
	MinKeepAlive = 30
	MaxKeepAlive = 1200

	// MaxTopicBytes is the length of a topic or filter in UTF-8.
	MaxTopicBytes = 128
	// MaxTopicSlashes is the depth of a custom topic, /PRODUCT_KEY/DEVICE_NAME/…. The platform's own topics go deeper: that
	// of an upload, /sys/PRODUCT_KEY/DEVICE_NAME/thing/file/upload/mqtt/init, has 8.
	MaxTopicSlashes = 7
	// MaxPayloadBytes is the size of a message, 256 KB. On MQTT 3.1.1 a greater one vanishes without an answer.
	MaxPayloadBytes = 262144

	// MaxFiltersPerSubscribe is how many topic filters one SUBSCRIBE may hold.
	MaxFiltersPerSubscribe = 8
	// MaxSubscriptions is how many filters one device may subscribe to; further ones get 0x80 in SUBACK.
	MaxSubscriptions = 100
	// MaxPublishesPerSecond is how many messages of either QoS a device may send; the excess is dropped without an answer.
	MaxPublishesPerSecond = 30
	// MaxBytesPerSecond is the throughput of a connection, 1,024 KB a second.
	MaxBytesPerSecond = 1024 << 10
	// MaxConnectsPerMinute is how many logins of one device the platform takes.
	MaxConnectsPerMinute = 5
	// MaxUnacknowledged is how many messages of QoS 1 the platform sends ahead of their PUBACKs.
	MaxUnacknowledged = 100

	// MaxClientIDBase is the length of the client id before its parameters (documentation of MQTT over TCP).
	MaxClientIDBase = 64
	// MaxInterfaceInfo is the length of the network interface info (buffers of the C SDK; the Python SDK checks it).
	MaxInterfaceInfo = 160
	// MaxSecret is the length of a device's or product's secret (buffers of the C SDK; real ones have 32 and 16 characters).
	MaxSecret = 64
	// MaxDeviceToken and MaxTokenClientID bound what a registration-free registration may give. Both are opaque, and no
	// source names a length: those seen are 31 and 26 characters long.
	MaxDeviceToken   = 512
	MaxTokenClientID = 256

	// RRPCDeadline is how long the platform waits for a device's answer to an RRPC; the call itself may ask for less.
	RRPCDeadline = 8 * time.Second
	// RegistrationWindow is how long the platform leaves a registration's connection open after it has sent the credential.
	RegistrationWindow = 15 * time.Second
)
