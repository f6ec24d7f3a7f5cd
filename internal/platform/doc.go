// Package platform has the rules of Alibaba Cloud IoT Platform as pure functions: how a device signs a login, which server it
// talks to, how it registers, what a refusal means, and which topics are its own.
//
// There is no I/O here, no clock and no randomness: times and random strings are passed in. Both sides use the rules: the
// sidecar keeps to them and the sandbox enforces them.
package platform
