package server

import (
	"errors"
	"fmt"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
)

// ConnectRequest translates a request that no caller made, such as that of a device which the configuration declares. It is held
// to the rules of the contract, and means what the same request means when an app makes it.
func ConnectRequest(r *pb.ConnectRequest) (conn.ConnectRequest, error) {
	if err := validate(r); err != nil {
		if invalid, ok := errors.AsType[*invalidError](err); ok {
			first := invalid.violations[0]
			return conn.ConnectRequest{}, fmt.Errorf("%s: %s", first.GetField(), first.GetDescription())
		}
		return conn.ConnectRequest{}, err
	}
	id := idFrom(r.GetDevice())
	request, err := connectRequestFrom(id, r)
	if err != nil {
		return conn.ConnectRequest{}, err
	}
	return request, request.Settings.Validate(id)
}
