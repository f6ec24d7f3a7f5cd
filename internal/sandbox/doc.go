// Package sandbox is Alibaba Cloud IoT Platform on one's desk: the platform's device side, good enough that the vendor's own
// SDKs connect to it unmodified. It is for tests and for development.
//
//	device ──MQTT, TLS──▶ door ──▶ link ──▶ cloud ◀── console ◀──gRPC── tester
//	device ──HTTPS──────▶ registration desk ──▶ ┘
//
// The cloud knows products and devices, judges logins and registrations, and remembers what happened. A link is one device's
// MQTT connection; its own goroutine reads it, and alone closes it. The doors are the listening sockets; the console is the
// gRPC SandboxService. New opens the doors, Run serves until its context ends and leaves no goroutine behind.
//
// The platform is no broker: what a device publishes goes to the cloud and never to another device. So there is no MQTT broker
// library in here, only the few packets of MQTT 3.1 and 3.1.1 that devices use, read with hard limits.
//
// All state is in memory: a restart is the fixture again. Only the certificate authority is kept, in the state directory, so
// that whoever trusts it goes on trusting it.
//
// What it imitates: the order in which the platform checks a login and the CONNACK codes of each check; dynamic registration
// over MQTT (register, regnwl) and HTTPS; activation; the newest login kicking the older; keep alive; the rate of logins; which
// topics and filters a device may use; system topics that come without a SUBSCRIBE; sessions that last, messages of QoS 1 that
// are stored for 7 days, and 100 of them ahead of their PUBACKs; RRPC on the system's and on custom topics; plain MQTT and TLS
// on one port.
//
// Where no source says what the platform does, Options.Strict chooses between the lenient and the strict guess. It also says what
// becomes of messages that a device publishes too fast, beyond 30 messages or 1,024 KB in any second: a strict sandbox acknowledges
// and drops them, silently as the platform does; a lenient one keeps them, and its log warns.
//
// A session is what the platform keeps of a device beyond a link: a login with clean_session=false takes it over from the link
// before, and a link only ever sends what its session gives it. So a message of QoS 1 is in one place at any time: it waits in
// the queue, or it was given to a link and awaits its PUBACK.
//
// What it does not imitate:
//
//   - answers to Alink requests: it records what a device posts and answers nothing;
//   - limits of rate per account, of what is sent to a device (50 messages in a second), and of the throughput to it;
//   - the ten seconds that subscribing may take to have an effect: here it has it at once;
//   - MQTT 5, WebSocket, TLS-PSK, X.509 and ID² logins, bootstrap, the HTTPS "guider" of old C SDKs;
//   - gateways and their sub-devices: a topic of another device is a foreign topic, whoever uses it;
//   - shadow, OTA, NTP, tags, rules between topics, and instances.
package sandbox
