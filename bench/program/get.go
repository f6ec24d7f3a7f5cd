package program

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// grpcGet calls GetDevice, each of the Callers one at a time.
func grpcGet(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	conns, closeAll, err := dialAll(p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	m := newMeter(p)
	var callers sync.WaitGroup
	for c := range p.Callers {
		client := pb.NewConnectivityServiceClient(conns[c%len(conns)])
		callers.Go(func() {
			for ctx.Err() == nil && !m.over() {
				start := time.Now()
				r, err := client.GetDevice(ctx, &pb.GetDeviceRequest{Device: p.device(0)})
				if err == nil && r.GetStatus().GetState() != pb.LinkState_LINK_STATE_ONLINE {
					err = fmt.Errorf("the device is %v", r.GetStatus().GetState())
				}
				if err != nil {
					m.fail(err)
					return
				}
				m.add(start)
			}
		})
	}
	callers.Wait()
	return m.figures()
}

// endpoint is the broker as the sidecar is told of it.
func endpoint(p Params) *pb.Endpoint {
	host, port, _ := net.SplitHostPort(p.Broker)
	number, _ := strconv.Atoi(port) // the sidecar refuses what is no port
	return &pb.Endpoint{Host: host, Port: uint32(number)}
}
