package server

import (
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	"google.golang.org/grpc"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

func TestAPolicyPermitsWhatARuleSaysAndNothingElse(t *testing.T) {
	p, err := NewPolicy([]Rule{
		{Callers: []string{"uid:1000"}, Operations: []string{"*"}, Devices: []string{"a1B2c3D4e5F/dev-*"}},
		{Callers: []string{"gid:2000", "certificate:app*.example"}, Operations: []string{"read", "Connect"}},
		{Callers: []string{"token"}, Operations: []string{"forget"}, Devices: []string{"*/dev-001"}},
		{Callers: []string{"*"}, Operations: []string{"GetDevice"}, Devices: []string{"*/public"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := Caller{Kind: UnixCaller, UID: 1000}, Caller{Kind: UnixCaller, UID: 1, GID: 2000}
	cert, token := Caller{Kind: CertificateCaller, Name: "app7.example"}, Caller{Kind: TokenCaller}
	for _, c := range []struct {
		caller    Caller
		operation string
		id        device.ID
		want      bool
	}{
		{uid, "ForgetDevice", dev1, true},
		{uid, "Connect", dev("other"), false},
		{uid, "Connect", device.ID{ProductKey: "A1B2C3D4E5F", DeviceName: "dev-001"}, false},
		{gid, "Events", dev1, true},
		{gid, "Connect", dev("other"), true},
		{gid, "Disconnect", dev1, false},
		{cert, "ListDevices", dev1, true},
		{cert, "Register", dev1, false},
		{Caller{Kind: CertificateCaller, Name: "app7.example.org"}, "ListDevices", dev1, false},
		{Caller{Kind: CertificateCaller, UID: 1000}, "Connect", dev1, false},
		{token, "ForgetDevice", dev1, true},
		{token, "ForgetDevice", dev2, false},
		{token, "GetDevice", dev1, false},
		{token, "GetDevice", dev("public"), true},
		{Caller{Kind: LoopbackCaller}, "GetDevice", dev("public"), true},
		{Caller{}, "GetDevice", dev1, false},
	} {
		if got := p.permits(c.caller, c.operation, c.id); got != c.want {
			t.Errorf("%s, %s, %s: %v", c.caller, c.operation, c.id, got)
		}
	}
	if p.permitsSome(token, "Connect") || !p.permitsSome(token, "ForgetDevice") {
		t.Error("what is permitted with some device is wrong")
	}
	if none, _ := NewPolicy(nil); none.permitsSome(uid, "GetDevice") {
		t.Error("a policy without rules permits something")
	}
	if !(*Policy)(nil).permits(Caller{}, "Connect", dev1) {
		t.Error("no policy at all forbids something")
	}
}

func TestARuleThatMakesNoSenseIsNamed(t *testing.T) {
	good := Rule{Callers: []string{"*"}, Operations: []string{"*"}}
	for _, c := range []struct {
		rule Rule
		says string
	}{
		{Rule{}, "needs callers"},
		{Rule{Callers: []string{"*"}}, "needs callers and operations"},
		{Rule{Callers: []string{"root"}, Operations: []string{"*"}}, `caller "root"`},
		{Rule{Callers: []string{"uid"}, Operations: []string{"*"}}, `caller "uid"`},
		{Rule{Callers: []string{"uid:no-such-user"}, Operations: []string{"*"}}, "no-such-user"},
		{Rule{Callers: []string{"gid:no-such-group"}, Operations: []string{"*"}}, "no-such-group"},
		{Rule{Callers: []string{"certificate:"}, Operations: []string{"*"}}, `caller "certificate:"`},
		{Rule{Callers: []string{"certificate:a?"}, Operations: []string{"*"}}, `caller "certificate:a?"`},
		{Rule{Callers: []string{"*"}, Operations: []string{"connect", "write"}}, `operation "write"`},
		{Rule{Callers: []string{"*"}, Operations: []string{"*"}, Devices: []string{"dev-001"}}, "PRODUCT_KEY/DEVICE_NAME"},
		{Rule{Callers: []string{"*"}, Operations: []string{"*"}, Devices: []string{"a/[bc]"}}, "PRODUCT_KEY/DEVICE_NAME"},
		{Rule{Callers: []string{"*"}, Operations: []string{"*"}, Devices: []string{"a/"}}, "PRODUCT_KEY/DEVICE_NAME"},
	} {
		if _, err := NewPolicy([]Rule{good, c.rule}); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "rule 2") {
			t.Errorf("%+v: %v", c.rule, err)
		}
	}
}

func TestAStarStandsForAnyCharacters(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"a", "a", true},
		{"a", "ab", false},
		{"a*", "a", true},
		{"*b", "ab", true},
		{"*b", "ba", false},
		{"a*c*e", "abcde", true},
		{"a*c*e", "abcdx", false},
		{"**", "x", true},
		{"a*a", "a", false},
	} {
		if got := matches(c.pattern, c.s); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.s, got)
		}
	}
}

func TestEveryOperationOfAPolicyIsAnRpcAndEveryRpcAnOperation(t *testing.T) {
	served := map[string]bool{}
	for _, service := range []grpc.ServiceDesc{pb.ConnectivityService_ServiceDesc, pb.MessagingService_ServiceDesc} {
		for _, m := range service.Methods {
			served[m.MethodName] = true
		}
		for _, s := range service.Streams {
			served[s.StreamName] = true
		}
	}
	all, err := readOperation("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if !served[o] {
			t.Errorf("%s is no rpc", o)
		}
		delete(served, o)
	}
	for name := range served {
		t.Errorf("no policy can permit %s", name)
	}
}

// limited serves two devices to a caller that may do everything with dev1 and nothing with dev2, but forget no device.
func limited(t *testing.T) *world {
	t.Helper()
	me := "uid:" + itoa(os.Geteuid())
	policy, err := NewPolicy([]Rule{{Callers: []string{me}, Operations: []string{"read", "connect", "register"}, Devices: []string{dev1.String()}}})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, func(o *Options) { o.Policy = policy })
	w.devices.become(dev1, event.Idle, event.Disconnected{})
	w.devices.become(dev2, event.Online, event.WentOnline{})
	return w
}

func TestAPolicyKeepsDevicesFromCallers(t *testing.T) {
	w, ctx := limited(t), t.Context()
	c := w.client()
	for name, call := range map[string]func() error{
		"GetDevice":  func() error { _, err := c.GetDevice(ctx, &pb.GetDeviceRequest{Device: named(dev2)}); return err },
		"Connect":    func() error { _, err := c.Connect(ctx, &pb.ConnectRequest{Device: named(dev2)}); return err },
		"Disconnect": func() error { _, err := c.Disconnect(ctx, &pb.DisconnectRequest{Device: named(dev2)}); return err },
		"unknown": func() error {
			_, err := c.GetDevice(ctx, &pb.GetDeviceRequest{Device: named(dev("dev-003"))})
			return err
		},
		"Register": func() error {
			_, err := c.Register(ctx, &pb.RegisterRequest{Device: named(dev2), Method: 1, ProductSecret: "p"})
			return err
		},
		"Events": func() error {
			s, err := c.Events(ctx, &pb.EventsRequest{Devices: []*pb.Device{named(dev1), named(dev2)}})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
	} {
		r := refused(t, call(), codes.PermissionDenied, "CALLER_NOT_PERMITTED")
		if !strings.Contains(r.message, "uid ") || (name != "unknown" && !strings.Contains(r.message, name)) || r.metadata["operation"] == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	_, err := c.ForgetDevice(ctx, &pb.ForgetDeviceRequest{Device: named(dev1)})
	if r := refused(t, err, codes.PermissionDenied, "CALLER_NOT_PERMITTED"); !strings.Contains(r.message, "ForgetDevice with any device") {
		t.Error(r.message)
	}
	if got := w.devices.Devices(); got[1].State != event.Online {
		t.Errorf("dev2 was touched: %+v", got)
	}
}

func TestAPolicyHidesOtherDevices(t *testing.T) {
	w, ctx := limited(t), t.Context()
	c := w.client()
	all, err := c.ListDevices(ctx, &pb.ListDevicesRequest{})
	if err != nil || len(all.GetDevices()) != 1 || all.GetDevices()[0].GetDevice().GetDeviceName() != "dev-001" {
		t.Errorf("%v, %v", all, err)
	}
	// The device that it may use is the only one, as far as it knows.
	if got, err := c.GetDevice(ctx, &pb.GetDeviceRequest{}); err != nil || got.GetStatus().GetDevice().GetDeviceName() != "dev-001" {
		t.Errorf("%v, %v", got, err)
	}
	events := follow(t, c, &pb.EventsRequest{})
	for {
		s := events.next().GetSnapshot()
		if s == nil {
			t.Fatal("no snapshot")
		}
		if len(s.GetDevices()) > 1 || (len(s.GetDevices()) == 1 && s.GetDevices()[0].GetDevice().GetDeviceName() != "dev-001") {
			t.Fatalf("%v", s)
		}
		if !s.GetMore() {
			break
		}
	}
	w.log.Publish(event.Lost{}, event.Status{Device: dev2, State: event.Waiting})
	w.log.Publish(event.Warning{Code: event.WarnStateSetAside}, event.Status{})
	w.devices.become(dev1, event.Online, event.WentOnline{})
	var told []string
	for {
		e := events.next()
		told = append(told, e.GetDevice().GetDeviceName())
		if e.GetDevice().GetDeviceName() == "dev-002" {
			t.Errorf("told of %v", e)
		}
		if e.GetOnline() != nil {
			break
		}
	}
	if !slices.Contains(told, "") {
		t.Errorf("what concerns the whole sidecar is missing: %q", told)
	}
	health := w.health()
	if _, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "link/" + dev2.String()}); refusalOf(t, err).code != codes.NotFound {
		t.Errorf("%v", err)
	}
	if s, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || s.GetStatus() != serving {
		t.Errorf("%v, %v", s, err)
	}
}
