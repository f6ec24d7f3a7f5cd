package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

// walk runs walkthrough.sh and returns all that it printed.
func walk(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(harness.Within(t), "sh", append([]string{"walkthrough.sh"}, args...)...)
	c.Env = append(os.Environ(), "PATH="+filepath.Dir(harness.Grpcurl)+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, out)
	}
	return string(out)
}

// TestAWholeRunShowsNoSecret does all that there is to do with everything switched on, and then searches everything that was
// written, logged, answered, told and counted for every secret that was used.
func TestAWholeRunShowsNoSecret(t *testing.T) {
	p := harness.StartPlatform(t, 4)
	s := harness.StartSidecar(t, p, "", "--log-level", "debug", "--admin-address", "127.0.0.1:0")
	all := map[string]string{"walkthrough": walk(t, s.SocketPath("address"), p.SocketPath("control"), fmt.Sprint(p.Port("mqtts")), "dev-002")}

	ctx := harness.Within(t)
	secrets := []string{harness.ProductSecret, harness.DeviceSecret, "wrong-device-secret", "wrong-product-secret", "ready-made-password"}
	for _, r := range []*pb.ConnectRequest{
		{Device: harness.Device("dev-001"), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: "wrong-device-secret"}},
		{Device: harness.Device("dev-001"), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret}},
		{Device: harness.Device("dev-005"), Credential: &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{
			ClientId: "x|securemode=2|", Username: "dev-005&" + harness.ProductKey, Password: "ready-made-password",
		}}},
	} {
		r.Endpoint = p.Endpoint()
		if _, err := s.Devices.Connect(ctx, r); err != nil {
			all["error of Connect "+r.Device.DeviceName] += err.Error()
		}
	}
	for _, r := range []*pb.RegisterRequest{
		{Device: harness.Device("dev-003"), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: "wrong-product-secret"},
		{Device: harness.Device("dev-004"), Method: pb.RegistrationMethod_REGISTRATION_METHOD_REGISTRATION_FREE, ProductSecret: harness.ProductSecret},
	} {
		r.Endpoint = p.Endpoint()
		if _, err := s.Devices.Register(ctx, r); err != nil {
			all["error of Register "+r.Device.DeviceName] += err.Error()
		}
	}
	revealed, err := p.Console.ListDevices(ctx, &sandboxv1.ListDevicesRequest{RevealSecrets: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range revealed.Devices {
		secrets = append(secrets, d.DeviceSecret)
		for _, token := range d.DeviceTokens {
			secrets = append(secrets, token.Token)
		}
	}
	told := s.Follow(&pb.EventsRequest{After: &pb.Cursor{Epoch: "none"}})
	told.Await("the registration of dev-004", func(e *pb.EventsResponse) bool {
		return e.GetRegistered() != nil && e.Device.DeviceName == "dev-004"
	})
	events, _ := told.All()
	for _, e := range events {
		all["events"] += e.String() + "\n"
	}
	for _, args := range [][]string{{"status"}, {"status", "--output", "json"}} {
		out, err := exec.Command(harness.Binary, append(args, "--address", s.Ready["address"])...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		all[strings.Join(args, " ")] = string(out)
	}
	all["metrics"] = fetch(t, "http://"+s.Ready["admin"]+"/metrics")
	if s.Terminate() != 0 {
		t.Errorf("the sidecar ended with %v", s.Err)
	}
	all["log"], all["output"] = s.Log(), s.Out()
	all["sandbox log"], all["sandbox output"] = p.Log(), p.Out()

	used := 0
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		used++
		for where, text := range all {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the secret %q", where, secret)
			}
		}
	}
	if used < 7 {
		t.Errorf("only %d secrets were searched for", used)
	}
	for where, text := range all {
		if text == "" && where != "sandbox log" {
			t.Errorf("nothing was written to %s: the search means nothing there", where)
		}
	}
	t.Logf("searched %d places for %d secrets", len(all), used)
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(body)
}
