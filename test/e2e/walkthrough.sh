#!/bin/sh
# What a new user does with grpcurl: register a device, connect it, watch its events while the platform kicks it, let it go.
#
#   walkthrough.sh SIDECAR_SOCKET SANDBOX_SOCKET PORT DEVICE_NAME
#
# SIDECAR_SOCKET and SANDBOX_SOCKET are paths; PORT is the sandbox's TLS port. The product is that of the sandbox's fixture.
# Every answer is printed. The exit code is 0 when everything happened, and 1 at the first thing that did not.
set -eu

sidecar=$1 sandbox=$2 port=$3 name=$4
product_key=${PRODUCT_KEY:-a1B2c3D4e5F} product_secret=${PRODUCT_SECRET:-PsSecret01234567}
device="{\"product_key\": \"$product_key\", \"device_name\": \"$name\"}"
endpoint="{\"host\": \"localhost\", \"port\": $port}"

call() { # SOCKET METHOD REQUEST
	echo "--- $2" >&2
	grpcurl -plaintext -unix -d "$3" "$1" "$2" | tee /dev/stderr
}
connectivity=linkkit_sidecar.v1.ConnectivityService
platform=linkkit_sidecar.sandbox.v1.SandboxService

events=$(mktemp)
watcher=
trap '[ -z "$watcher" ] || kill "$watcher" 2>/dev/null; rm -f "$events"' EXIT

expect() { # TEXT COUNT: waits until the events have it so often
	tries=0
	while [ "$(grep -c "$1" "$events")" -lt "$2" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || { echo "no event $1 within a minute; told was:" >&2; cat "$events" >&2; exit 1; }
		sleep 0.1
	done
}

grpcurl -plaintext -unix "$sidecar" list | grep -q "$connectivity"

grpcurl -plaintext -unix -d "{\"devices\": [$device]}" "$sidecar" $connectivity/Events >"$events" &
watcher=$!
expect '"snapshot"' 1

call "$sidecar" $connectivity/Register "{\"device\": $device, \"method\": \"REGISTRATION_METHOD_PRE_REGISTERED\",
  \"product_secret\": \"$product_secret\", \"endpoint\": $endpoint}" | grep -q '"fingerprint"'
expect '"registered"' 1

call "$sidecar" $connectivity/Connect "{\"device\": $device, \"endpoint\": $endpoint}" | grep -q LINK_STATE_ONLINE
expect '"online"' 1

call "$sandbox" $platform/KickDevice "{\"device\": $device}" | grep -q '"wasOnline": true'
expect '"lost"' 1
expect '"online"' 2

call "$sidecar" $connectivity/ListDevices '{}' | grep -q LINK_STATE_ONLINE
call "$sidecar" $connectivity/Disconnect "{\"device\": $device}" | grep -q LINK_STATE_IDLE
expect '"disconnected"' 1

echo "--- the events" >&2
cat "$events"
