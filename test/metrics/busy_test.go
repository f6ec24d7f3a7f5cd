package metrics

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

const ownTopic = "/" + harness.ProductKey + "/dev-001/user/"

// world is a platform and a sidecar with everything that has metrics.
type world struct {
	t        *testing.T
	platform *harness.Platform
	*harness.Sidecar
	messages pb.MessagingServiceClient
	page     string // the admin page's address
}

func start(t *testing.T, args ...string) *world {
	t.Helper()
	cert, key, token := tcpFiles(t)
	w := &world{t: t, platform: harness.StartPlatform(t, 1, "--device-logins-per-minute", "-1")}
	w.Sidecar = harness.StartSidecar(t, w.platform, "", append([]string{
		"--admin-address", "127.0.0.1:0", "--connects-per-minute", "0",
		"--listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key, "--token-file", token,
	}, args...)...)
	w.messages = pb.NewMessagingServiceClient(harness.Dial(t, w.Ready["address"]))
	w.page = "http://" + w.Ready["admin"]
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return w
}

// tcpFiles are a certificate with its key, and a token.
func tcpFiles(t *testing.T) (certFile, keyFile, tokenFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		write("token", []byte("0123456789abcdef0123456789abcdef"))
}

// get asks the admin page.
func (w *world) get(path string) (code int, body string) {
	w.t.Helper()
	r, err := http.Get(w.page + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.StatusCode, string(data)
}

// connect connects dev-001.
func (w *world) connect() {
	w.t.Helper()
	if _, err := w.Devices.Connect(harness.Within(w.t), &pb.ConnectRequest{
		Device: harness.Device("dev-001"), Endpoint: w.platform.Endpoint(),
		Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: harness.DeviceSecret},
	}); err != nil {
		w.t.Fatal(err)
	}
}

// busy does a little of all that there is: messages both ways and of both kinds, a refusal, a loss, a delivery that comes again.
func (w *world) busy() {
	t, ctx := w.t, harness.Within(w.t)
	t.Helper()
	w.connect()
	if _, err := w.Devices.Connect(ctx, &pb.ConnectRequest{
		Device: harness.Device("dev-002"), Endpoint: w.platform.Endpoint(), Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: "wrong"},
	}); err == nil {
		t.Fatal("a wrong secret was accepted")
	}
	for _, m := range []*pb.OutgoingMessage{
		{Topic: ownTopic + "update", Payload: []byte("confirmed")},
		{Topic: ownTopic + "update", Payload: []byte("stored"), Assurance: pb.Assurance_ASSURANCE_STORED},
	} {
		if _, err := w.messages.Publish(ctx, &pb.PublishRequest{Device: harness.Device("dev-001"), Message: m}); err != nil {
			t.Fatal(err)
		}
	}
	subscription, err := w.messages.Subscribe(ctx, &pb.SubscribeRequest{Device: harness.Device("dev-001"), Filters: []string{ownTopic + "get"}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := subscription.Recv(); err != nil || !r.GetGranted() {
		t.Fatalf("Subscribe: %v, %v", r, err)
	}
	w.consume()
	if _, err := w.platform.Console.KickDevice(ctx, &sandboxv1.KickDeviceRequest{Device: harness.ConsoleDevice("dev-001")}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the device's return", func() bool {
		got, err := w.Devices.GetDevice(ctx, &pb.GetDeviceRequest{Device: harness.Device("dev-001")})
		return err == nil && got.GetStatus().GetCounters().GetConnects() == 2 && got.GetStatus().GetCounters().GetStoredSent() == 1
	})
	if r, err := subscription.Recv(); err != nil { // what consume had sent, and granted again
		t.Fatalf("Subscribe: %v, %v", r, err)
	}
}

// consume takes a message from an inbox, puts it back, takes it again, and leaves it there.
func (w *world) consume() {
	t, ctx := w.t, harness.Within(w.t)
	t.Helper()
	stream, err := w.messages.Consume(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.ConsumeRequest{Open: &pb.OpenInbox{Device: harness.Device("dev-001"), Inbox: "a", Filters: []string{ownTopic + "get"}}}); err != nil {
		t.Fatal(err)
	}
	sent, deliveries := false, 0
	for deliveries < 2 {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetGranted() && !sent {
			sent = true
			if _, err := w.platform.Console.PublishDownstream(ctx, &sandboxv1.PublishDownstreamRequest{
				Device: harness.ConsoleDevice("dev-001"), Topic: ownTopic + "get", Payload: []byte("down"),
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range r.GetDeliveries() {
			deliveries++
			if deliveries == 1 {
				if err := stream.Send(&pb.ConsumeRequest{Answers: []*pb.Answer{{Delivery: d.GetDelivery(), Verdict: pb.Verdict_VERDICT_RETRY}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
