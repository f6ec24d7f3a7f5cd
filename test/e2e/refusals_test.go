package e2e

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// TestWhatThePlatformRefusesIsToldWithCodeMeaningAndAdvice asks for what the platform must refuse, and sees that nothing stored is
// touched, that the refusal is an event, and that nobody tries again.
func TestWhatThePlatformRefusesIsToldWithCodeMeaningAndAdvice(t *testing.T) {
	p := harness.StartPlatform(t, 3, "--device-logins-per-minute", "-1")
	s := harness.StartSidecar(t, p, "")
	told := s.Follow(&pb.EventsRequest{})
	ctx := harness.Within(t)
	connect := func(name, secret string) error {
		r := &pb.ConnectRequest{Device: harness.Device(name), Endpoint: p.Endpoint()}
		if secret != "" {
			r.Credential = &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret}
		}
		_, err := s.Devices.Connect(ctx, r)
		return err
	}
	register := func(name, secret string, replace bool) error {
		_, err := s.Devices.Register(ctx, &pb.RegisterRequest{
			Device: harness.Device(name), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED,
			ProductSecret: secret, Endpoint: p.Endpoint(), Replace: replace,
		})
		return err
	}
	disconnect := func(name string) {
		if _, err := s.Devices.Disconnect(ctx, &pb.DisconnectRequest{Device: harness.Device(name)}); err != nil {
			t.Fatal(err)
		}
	}
	// One device that works, has a stored credential and is activated.
	if err := connect("dev-001", harness.DeviceSecret); err != nil {
		t.Fatal(err)
	}
	disconnect("dev-001")

	refused(t, "a wrong secret", connect("dev-001", "wrong"), "REFUSED_BAD_CREDENTIALS", "4")
	refused(t, "an unknown device", connect("dev-999", harness.DeviceSecret), "REFUSED_BAD_CREDENTIALS", "4")
	if _, err := p.Console.DisableDevice(ctx, &sandboxv1.DisableDeviceRequest{Device: harness.ConsoleDevice("dev-001")}); err != nil {
		t.Fatal(err)
	}
	refused(t, "a disabled device", connect("dev-001", ""), "REFUSED_NOT_AUTHORIZED", "5")
	if _, err := p.Console.EnableDevice(ctx, &sandboxv1.EnableDeviceRequest{Device: harness.ConsoleDevice("dev-001")}); err != nil {
		t.Fatal(err)
	}
	if err := connect("dev-001", ""); err != nil {
		t.Errorf("the stored credential was touched: %v", err)
	}
	disconnect("dev-001")

	refused(t, "a wrong product secret", register("dev-002", "wrong", false), "REFUSED_BAD_CREDENTIALS", "4")
	refused(t, "an activated device", register("dev-001", harness.ProductSecret, true), "REFUSED_BAD_CREDENTIALS", "4")
	if err := connect("dev-001", ""); err != nil {
		t.Errorf("the refused registration touched the stored credential: %v", err)
	}
	switchedOff(ctx, t, p, s)

	for _, want := range []uint32{4, 5} {
		told.Await("a refusal", func(e *pb.EventsResponse) bool {
			r := e.GetRefused()
			return r != nil && r.Code == want && r.Meaning != "" && r.Advice != "" && !r.WillRetry
		})
	}
	logins, err := p.Console.ListLogins(ctx, &sandboxv1.ListLoginsRequest{Device: harness.ConsoleDevice("dev-999")})
	if err != nil || len(logins.Logins) != 1 {
		t.Errorf("a refused device logged in %d times, %v", len(logins.GetLogins()), err)
	}
}

// switchedOff registers a device of a product that has dynamic registration switched off.
func switchedOff(ctx context.Context, t *testing.T, p *harness.Platform, s *harness.Sidecar) {
	t.Helper()
	product, err := p.Console.CreateProduct(ctx, &sandboxv1.CreateProductRequest{ProductKey: "b1switchedOff"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Console.CreateDevice(ctx, &sandboxv1.CreateDeviceRequest{
		Device: &sandboxv1.Device{ProductKey: product.ProductKey, DeviceName: "dev-001"},
	}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Devices.Register(ctx, &pb.RegisterRequest{
		Device: &pb.Device{ProductKey: product.ProductKey, DeviceName: "dev-001"}, Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED,
		ProductSecret: product.ProductSecret, Endpoint: p.Endpoint(),
	})
	refused(t, "registration switched off", err, "REFUSED_BAD_CREDENTIALS", "4")
}

// refused checks an error's code, its reason, and that it tells the CONNACK code with its meaning and advice.
func refused(t *testing.T, what string, err error, reason, connack string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.FailedPrecondition || !strings.Contains(st.Message(), "CONNACK "+connack) {
		t.Errorf("%s: %v", what, err)
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			if info.Reason != reason || info.Domain != "linkkit-sidecar" || info.Metadata["connack_code"] != connack ||
				info.Metadata["meaning"] == "" || info.Metadata["advice"] == "" {
				t.Errorf("%s: %v", what, info)
			}
			return
		}
	}
	t.Errorf("%s: no ErrorInfo in %v", what, err)
}
