// Package cli is the command line: the clients of a running sidecar, and the servers.
//
//	register connect disconnect status events forget   client.go ── gRPC ──▶ a running sidecar
//	serve                                              sidecar.go: builds the rooms bottom-up, runs and stops them
//	sandbox                                            the emulator alone
//	dev                                                both in one process, and a client that shows what happens
//
// Each command is one file with its flags, its help and what it does. What people read goes through human.go and
// event_line.go, what programs read through protojson with the proto's names; what went wrong through failure.go, which also
// decides the exit code. Only standard output carries results: everything else is on standard error.
//
// Nothing here knows MQTT, and no flag, variable or configuration key takes a secret: internal/config reads them from files.
package cli
