package compare

import (
	"context"
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"

	"github.com/linkkit-sidecar/linkkit-sidecar/bench/lab"
	"github.com/linkkit-sidecar/linkkit-sidecar/bench/program"
)

// upperBound is the default upper bound of the waits between attempts.
const upperBound = 60.0

// away is for how long there is no broker.
const away = 30 * time.Second

// restart kills the broker of many devices, lets it be away for a while, and watches them come back.
func restart(l *lab.Lab) ([]Side, error) {
	devices := l.Count(1000, 20)
	state, err := l.Prepare(devices)
	if err != nil {
		return nil, err
	}
	return []Side{{"sidecar", func() (program.Figures, error) { return comeBack(l, state, devices) }}}, nil
}

func comeBack(l *lab.Lab, state string, devices int) (program.Figures, error) {
	s, err := l.StartWith(state, devices, lab.SidecarOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	ctx, cancel := context.WithTimeout(l.Context(), 5*time.Minute)
	defer cancel()
	stream, err := s.Devices.Events(ctx, &pb.EventsRequest{Kinds: []pb.EventKind{pb.EventKind_EVENT_KIND_CONNECTING, pb.EventKind_EVENT_KIND_ONLINE}})
	if err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != nil { // the snapshot
		return nil, err
	}
	l.Broker.Kill()
	lost := time.Now()
	if err := l.Rest(away); err != nil {
		return nil, err
	}
	if err := l.Broker.Restart(); err != nil {
		return nil, err
	}
	back := time.Now()
	attempts, all, tried, online := map[int]int{}, 0, map[string]bool{}, map[string]bool{}
	for len(online) < devices {
		e, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		switch e.GetEvent().(type) {
		case *pb.EventsResponse_Connecting:
			all++
			if tried[e.GetDevice().GetDeviceName()] { // the first wave is when all of them have just lost their link
				attempts[int(e.GetTime().AsTime().Sub(lost)/time.Second)]++
			}
			tried[e.GetDevice().GetDeviceName()] = true
		case *pb.EventsResponse_Online:
			online[e.GetDevice().GetDeviceName()] = true
		}
	}
	most := 0
	for _, n := range attempts {
		most = max(most, n)
	}
	return program.Figures{
		"seconds_to_online": time.Since(back).Seconds(), "by_upper_bound": time.Since(back).Seconds() / upperBound, "attempts": float64(all),
		"busiest_second_percent": 100 * float64(most) / float64(all),
	}, nil
}
