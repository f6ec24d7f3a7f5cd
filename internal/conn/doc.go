// Package conn keeps devices online.
//
//	idle ─▶ connecting ─▶ online ─▶ waiting ─▶ connecting …
//	            └─▶ rejected (until Connect is called again)
//
// A Set has one Keeper for each device it knows. While a device is wanted, one goroutine at a time (vigil.keep) is the only
// one that dials, replaces or closes its link; everything else asks. The MQTT library's own reconnection is switched off:
// each attempt is a fresh client with a fresh signature over a connection that is ours (dial.go) and guarded (guard.go).
//
// What happens is told by events, never by calling back. Only link_mqtt.go imports the MQTT library, and nothing here knows gRPC.
package conn
