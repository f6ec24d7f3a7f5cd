// Package server is the sidecar's gRPC side, and only translates: a request becomes a call of a Set of devices, a status or an
// event becomes a message, an error becomes a gRPC status by one table (status.go). It keeps no state about devices, retries
// nothing and knows nothing of MQTT.
//
//	app ── call ──▶ chain.go (who, how much, may they, is it well formed) ──▶ service.go ──▶ Devices
//	app ◀─ stream ─ events.go, health.go ◀─ take ─ event.Log
//
// Who gets in is settled before anything else: by the mode of a Unix socket (listen_unix.go), or on TCP by certificates or a
// token (listen_tcp.go). New binds and starts nothing; Run serves until its context ends, then says goodbye: health turns to
// NOT_SERVING, the streams of events end with a reason, calls under way may finish, and what does not is cut off.
package server
