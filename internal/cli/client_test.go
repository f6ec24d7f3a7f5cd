package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

var dev001 = &pb.Device{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}

var grpcCodes = map[string]codes.Code{
	"NotFound": codes.NotFound, "FailedPrecondition": codes.FailedPrecondition, "InvalidArgument": codes.InvalidArgument,
	"Unavailable": codes.Unavailable, "AlreadyExists": codes.AlreadyExists, "PermissionDenied": codes.PermissionDenied,
}

// refusal is an error as a sidecar answers it.
func refusal(code, reason, message string, details ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Domain: "linkkit-sidecar", Reason: reason, Metadata: map[string]string{"device": "a1B2c3D4e5F/dev-001"}}
	s, err := status.New(grpcCodes[code], message).WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func online(d *pb.Device) *pb.DeviceStatus {
	return &pb.DeviceStatus{
		Device: d, State: pb.LinkState_LINK_STATE_ONLINE, StateTime: timestamppb.Now(), Wanted: true, Endpoint: "localhost:8883", Attempt: 1,
		Credential: &pb.CredentialInfo{
			Kind: pb.CredentialKind_CREDENTIAL_KIND_DEVICE_SECRET, Fingerprint: "0123456789abcdef", Source: "connect", StoredTime: timestamppb.Now(),
		},
		Counters: &pb.DeviceCounters{Attempts: 3, Connects: 2, Losses: 1, BytesReceived: 12, BytesSent: 34_000},
	}
}

func TestConnectAsksForWhatItsFlagsSay(t *testing.T) {
	no := false
	plain := func(r *pb.ConnectRequest) *pb.ConnectRequest { // what every request has
		full := &pb.ConnectRequest{
			Tls: &pb.TlsSettings{}, SignMethod: pb.SignMethod_SIGN_METHOD_HMACSHA256, Wait: pb.ConnectWait_CONNECT_WAIT_OUTCOME,
			Mqtt:      &pb.MqttSettings{Protocol: pb.MqttProtocol_MQTT_PROTOCOL_3_1_1, MaxInflight: 20, ConnectTimeout: 20},
			Reconnect: &pb.ReconnectSettings{MinDelay: 1, MaxDelay: 60},
		}
		proto.Merge(full, r)
		return full
	}
	file := write(t, "0123456789abcdef\n")
	for _, row := range []struct {
		args string
		want *pb.ConnectRequest
	}{
		{"", plain(&pb.ConnectRequest{})},
		{"-d a1B2c3D4e5F/dev-001 --region cn-shanghai --replace --wait none", plain(&pb.ConnectRequest{
			Device: dev001, Endpoint: &pb.Endpoint{Region: "cn-shanghai"}, Replace: true, Wait: pb.ConnectWait_CONNECT_WAIT_NONE,
		})},
		{"--instance-id iot-0123abc --port 1883 --plain-tcp --wait outcome_or_give_up", plain(&pb.ConnectRequest{
			Endpoint: &pb.Endpoint{InstanceId: "iot-0123abc", Port: 1883}, Tls: &pb.TlsSettings{PlainTcp: true},
			Wait: pb.ConnectWait_CONNECT_WAIT_OUTCOME_OR_GIVE_UP,
		})},
		{"--host localhost --dial-address 127.0.0.1 --ca-file " + file + " --system-roots --skip-hostname-verification", plain(&pb.ConnectRequest{
			Endpoint: &pb.Endpoint{Host: "localhost"}, DialAddress: "127.0.0.1",
			Tls: &pb.TlsSettings{CaPem: "0123456789abcdef\n", SystemRoots: true, SkipHostnameVerification: true},
		})},
		{"--keep-alive 300 --clean-session=false --protocol 3.1 --max-inflight 5 --max-queued 9 --connect-timeout 1m --reconnect-min-delay 2 --reconnect-max-delay 90", plain(&pb.ConnectRequest{
			Mqtt: &pb.MqttSettings{
				KeepAlive: proto.Uint32(300), CleanSession: &no, Protocol: pb.MqttProtocol_MQTT_PROTOCOL_3_1,
				MaxInflight: 5, MaxQueued: 9, ConnectTimeout: 60,
			},
			Reconnect: &pb.ReconnectSettings{MinDelay: 2, MaxDelay: 90},
		})},
		{"--sign-method hmacsha1 --network-interface ethernet:03:AC:DE:FF:00:32 --network-interface cellular:imei=1,msisdn=2", plain(&pb.ConnectRequest{
			SignMethod: pb.SignMethod_SIGN_METHOD_HMACSHA1,
			NetworkInterfaces: []*pb.NetworkInterface{
				{Interface: &pb.NetworkInterface_Ethernet{Ethernet: &pb.EthernetInterface{Mac: "03:AC:DE:FF:00:32"}}},
				{Interface: &pb.NetworkInterface_Cellular{Cellular: &pb.CellularInterface{Imei: "1", Msisdn: "2"}}},
			},
		})},
		{"--device-secret-file " + file, plain(&pb.ConnectRequest{Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: "0123456789abcdef"}})},
		{"--device-token-file " + file + " --device-token-client-id c", plain(&pb.ConnectRequest{
			Credential: &pb.ConnectRequest_DeviceToken{DeviceToken: &pb.DeviceToken{ClientId: "c", Token: "0123456789abcdef"}},
		})},
		{"--mqtt-password-file " + file + " --mqtt-client-id c --mqtt-username u", plain(&pb.ConnectRequest{
			Credential: &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{ClientId: "c", Username: "u", Password: "0123456789abcdef"}},
		})},
	} {
		t.Run(row.args, func(t *testing.T) {
			var got *pb.ConnectRequest
			f := (&fakeSidecar{connect: func(_ context.Context, r *pb.ConnectRequest) (*pb.ConnectResponse, error) {
				got = r
				return &pb.ConnectResponse{Status: online(dev001)}, nil
			}}).serve(t)
			r := f.run(t, append([]string{"connect"}, strings.Fields(row.args)...)...)
			if r.code != exitOK || !strings.Contains(r.stdout, "a1B2c3D4e5F/dev-001 is online") || strings.Contains(r.stdout+r.stderr, "0123456789abcdef\n") {
				t.Errorf("%+v", r)
			}
			if !proto.Equal(got, row.want) {
				t.Errorf("asked for %v\nwant      %v", got, row.want)
			}
		})
	}
}

func TestWrongUsageIsRefusedBeforeAnybodyIsAsked(t *testing.T) {
	file := write(t, "0123456789abcdef\n")
	for _, row := range []struct{ args, want string }{
		{"connect --device dev-001", "must be PRODUCT_KEY/DEVICE_NAME"},
		{"connect --port 70000", "--port"},
		{"connect --protocol 5", "must be one of 3.1.1, 3.1"},
		{"connect --keep-alive 1.5", "whole seconds"},
		{"connect --region a --host b", "[host region]"},
		{"connect --device-token-file x", "device-token-client-id"},
		{"connect --device-secret-file x --mqtt-password-file y --mqtt-client-id c --mqtt-username u", "device-secret-file mqtt-password-file"},
		{"connect --device-secret-file /none/such", "--device-secret-file"},
		{"connect --ca-file /none/such", "--ca-file"},
		{"connect --network-interface token-ring:1", "must begin with one of ethernet:"},
		{"connect --network-interface cellular:mac=1", "must be imei=N"},
		{"connect --device-secret hunter2", "--device-secret-file"},
		{"connect --device-secret=hunter2", "--device-secret-file"},
		{"connect --token hunter2", "--token-file"},
		{"connect hunter2", "no argument"},
		{"connect --nonsense", "--nonsense"},
		{"register --device a1/d", "--method is needed"},
		{"register --device a1/d --method pre-registered", "--product-secret-file FILE is needed"},
		{"register --method pre-registered --product-secret-file " + file, "--device PRODUCT_KEY/DEVICE_NAME is needed"},
		{"register --device a1/d --method carrier-pigeon", "must be one of pre-registered, registration-free, https-legacy"},
		{"register --product-secret hunter2", "--product-secret-file"},
		{"forget", "is needed"},
		{"events --after nowhere", "EPOCH:SEQUENCE"},
		{"events --kind weather", "must be one of connecting, online"},
		{"events --after a:1 --history", "[after history]"},
		{"events --cursor-file " + file, "remove the file"},
		{"status --address nowhere", "use unix:///PATH, or HOST:PORT"},
		{"status --address unix:relative", "must be absolute"},
		{"status --output yaml", "must be one of human, json"},
		{"status --client-cert-file x", "client-key-file"},
		{"stauts", "did you mean status?"},
		{"serve --config /none/such", "cannot read the configuration"},
		{"serve --socket-mode rw", "octal"},
	} {
		r := (&fakeSidecar{}).serve(t).run(t, strings.Fields(row.args)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, row.want) || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" {
			t.Errorf("%s: %+v, want %q", row.args, r, row.want)
		}
		if strings.Contains(row.args, "secret") && strings.Contains(r.stderr, "hunter2") {
			t.Errorf("%s: the secret is in %q", row.args, r.stderr)
		}
	}
}

func TestWhatASidecarRefusesIsToldWithAllThatItSaid(t *testing.T) {
	for _, row := range []struct {
		err  error
		code int
		want []string
	}{
		{
			refusal("FailedPrecondition", "REFUSED_BAD_CREDENTIALS", "the platform refused with CONNACK 4"), exitRefused,
			[]string{"linkkit-sidecar: the platform refused with CONNACK 4\n", "reason             REFUSED_BAD_CREDENTIALS\n", "device             a1B2c3D4e5F/dev-001\n"},
		},
		{refusal("FailedPrecondition", "REGISTRATION_REFUSED", "no"), exitRefused, nil},
		{
			refusal("InvalidArgument", "INVALID_REQUEST", "the request cannot be taken", &errdetails.BadRequest{
				FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "endpoint.host", Description: "is an IP address"}},
			}), exitFailed, []string{"field              endpoint.host: is an IP address\n"},
		},
		{
			refusal("Unavailable", "DIAL_REFUSED", "nobody listens", &errdetails.RetryInfo{RetryDelay: durationpb.New(5 * time.Second)}), exitFailed,
			[]string{"worth trying       again in 5s\n"},
		},
		{refusal("Unavailable", "SHUTTING_DOWN", "the sidecar is stopping"), exitUnreachable, []string{"the sidecar is stopping"}},
		{refusal("PermissionDenied", "CALLER_NOT_PERMITTED", "the policy"), exitFailed, nil},
		{status.Error(codes.Internal, "clear\x1b[2J screen"), exitFailed, []string{`clear\x1b[2J screen`}},
	} {
		f := (&fakeSidecar{connect: func(context.Context, *pb.ConnectRequest) (*pb.ConnectResponse, error) { return nil, row.err }}).serve(t)
		r := f.run(t, "connect")
		if r.code != row.code || r.stdout != "" {
			t.Errorf("%v: %+v", row.err, r)
		}
		for _, want := range row.want {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%v: %q lacks %q", row.err, r.stderr, want)
			}
		}
	}
}

func TestAProgramIsToldErrorsAsJSON(t *testing.T) {
	f := (&fakeSidecar{forget: func(*pb.ForgetDeviceRequest) (*pb.ForgetDeviceResponse, error) {
		return nil, refusal("FailedPrecondition", "STILL_CONNECTED", "it is connected", &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	}}).serve(t)
	r := f.run(t, "forget", "--device", "a1B2c3D4e5F/dev-001", "--output", "json")
	var got struct{ Error failure }
	if err := json.Unmarshal([]byte(r.stderr), &got); err != nil {
		t.Fatal(err, r.stderr)
	}
	if e := got.Error; r.code != exitFailed || e.Code != "FAILED_PRECONDITION" || e.Reason != "STILL_CONNECTED" || e.Message != "it is connected" ||
		e.Retry != "1s" || e.Metadata["device"] != "a1B2c3D4e5F/dev-001" {
		t.Errorf("%+v", e)
	}
}

func TestNoSidecarIsSaidWithWhatToDo(t *testing.T) {
	dir, err := os.MkdirTemp("", "cli") //nolint:usetesting // its names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, row := range []struct{ address, want string }{
		{"unix://" + filepath.Join(dir, "none"), "there is no such socket; start one with `linkkit-sidecar serve`"},
		{"unix://" + stale, "nobody listens; start one with `linkkit-sidecar serve`"},
	} {
		for _, command := range []string{"status", "events", "connect", "disconnect"} {
			r := invocation{address: row.address}.run(t, command)
			if r.code != exitUnreachable || !strings.Contains(r.stderr, row.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%s %s: %+v", command, row.address, r)
			}
		}
	}
	for _, row := range []struct {
		dialled error
		want    string
	}{
		{&net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.EACCES}}, "--socket-group"},
		{fs.ErrPermission, "this user may not use"},
		{nil, "does not answer: otherwise"},
	} {
		if got := unreachable("unix:///s", row.dialled, "otherwise"); !strings.Contains(got, row.want) {
			t.Errorf("%v: %q", row.dialled, got)
		}
	}
}

func TestADeadlineHasItsOwnExitCode(t *testing.T) {
	f := (&fakeSidecar{connect: func(ctx context.Context, _ *pb.ConnectRequest) (*pb.ConnectResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}).serve(t)
	r := f.run(t, "connect", "--timeout", "1")
	if r.code != exitTimeout || !strings.Contains(r.stderr, "no outcome within --timeout") {
		t.Errorf("%+v", r)
	}
}

func TestRegisterKeepsTheCredentialToItselfUnlessAsked(t *testing.T) {
	for _, reveal := range []bool{false, true} {
		var got *pb.RegisterRequest
		f := (&fakeSidecar{register: func(r *pb.RegisterRequest) (*pb.RegisterResponse, error) {
			got = r
			response := &pb.RegisterResponse{Device: r.GetDevice(), Credential: online(dev001).GetCredential()}
			if r.GetRevealCredential() {
				response.DeviceSecret = "given-out"
			}
			return response, nil
		}}).serve(t)
		args := []string{"register", "-d", "a1B2c3D4e5F/dev-001", "--method", "https_legacy", "--product-secret-file", "-", "--host", "localhost", "--replace"}
		if reveal {
			args = append(args, "--reveal")
		}
		r := invocation{address: f.address, stdin: "PsSecret01234567\n"}.run(t, args...)
		if r.code != exitOK || strings.Contains(r.stdout, "given-out") != reveal || !strings.Contains(r.stdout, "0123456789abcdef") {
			t.Errorf("%+v", r)
		}
		want := &pb.RegisterRequest{
			Device: dev001, Method: pb.RegistrationMethod_REGISTRATION_METHOD_HTTPS_LEGACY, ProductSecret: "PsSecret01234567", Replace: true,
			Endpoint: &pb.Endpoint{Host: "localhost"}, Tls: &pb.TlsSettings{}, SignMethod: pb.SignMethod_SIGN_METHOD_HMACSHA256, RevealCredential: reveal,
		}
		if !proto.Equal(got, want) {
			t.Errorf("asked for %v\nwant      %v", got, want)
		}
	}
}

func TestStatusTellsOneInFullAndManyAsATable(t *testing.T) {
	waiting := &pb.DeviceStatus{
		Device: &pb.Device{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-002"}, State: pb.LinkState_LINK_STATE_WAITING, StateTime: timestamppb.Now(),
		Endpoint: "localhost:8883", Attempt: 4, NextAttemptTime: timestamppb.New(time.Now().Add(30 * time.Second)),
		LastCause: pb.Cause_CAUSE_DNS, LastDetail: "no such \x1b[31mhost", LastCauseTime: timestamppb.Now(), RegistrationInterrupted: true,
		TakeoverSuspected: true, Counters: &pb.DeviceCounters{MessagesUnclaimed: 2},
	}
	f := (&fakeSidecar{devices: []*pb.DeviceStatus{online(dev001), waiting}}).serve(t)

	r := f.run(t, "status")
	for _, want := range []string{"DEVICE ", "a1B2c3D4e5F/dev-001  online ", "device secret 0123456789abcdef", "2/3 ", "a1B2c3D4e5F/dev-002  waiting ", " dns ", "in "} {
		if r.code != exitOK || !strings.Contains(r.stdout, want) {
			t.Errorf("%+v lacks %q", r, want)
		}
	}
	r = f.run(t, "status", "-d", "a1B2c3D4e5F/dev-002")
	for _, want := range []string{"is waiting", "number 5", `dns, 0s ago: no such \x1b[31mhost`, "none stored", "register again", "another program", "2 messages"} {
		if r.code != exitOK || !strings.Contains(strings.ReplaceAll(r.stdout, "ms ago", "s ago"), strings.TrimPrefix(want, "dns, 0s ago: ")) {
			t.Errorf("%+v lacks %q", r, want)
		}
	}
	r = f.run(t, "status", "--output", "json")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `{"device":{"product_key":"a1B2c3D4e5F","device_name":"dev-001"},"state":"LINK_STATE_ONLINE",`) {
		t.Errorf("%q", r.stdout)
	}
	if r = f.run(t, "status", "--check"); r.code != exitFailed || !strings.Contains(r.stderr, "a1B2c3D4e5F/dev-002 is waiting") {
		t.Errorf("%+v", r)
	}
	if r = f.run(t, "status", "--check", "-d", "a1B2c3D4e5F/dev-001"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if r = f.run(t, "status", "-d", "a1B2c3D4e5F/dev-009"); r.code != exitFailed || !strings.Contains(r.stderr, "DEVICE_UNKNOWN") {
		t.Errorf("%+v", r)
	}
	if r = f.run(t, "__complete", "status", "--device", ""); !strings.Contains(r.stdout, "a1B2c3D4e5F/dev-001\na1B2c3D4e5F/dev-002\n") {
		t.Errorf("%+v", r)
	}
	none := (&fakeSidecar{}).serve(t)
	if r = none.run(t, "status"); r.code != exitOK || !strings.Contains(r.stdout, "knows no device yet") {
		t.Errorf("%+v", r)
	}
	if r = none.run(t, "status", "--check"); r.code != exitFailed {
		t.Errorf("%+v", r)
	}
}

func TestDisconnectAndForget(t *testing.T) {
	f := (&fakeSidecar{
		disconnect: func(r *pb.DisconnectRequest) (*pb.DisconnectResponse, error) {
			return &pb.DisconnectResponse{Status: &pb.DeviceStatus{Device: r.GetDevice(), State: pb.LinkState_LINK_STATE_IDLE}}, nil
		},
		forget: func(r *pb.ForgetDeviceRequest) (*pb.ForgetDeviceResponse, error) {
			if !r.GetForce() {
				return nil, refusal("FailedPrecondition", "STILL_CONNECTED", "it is connected")
			}
			return &pb.ForgetDeviceResponse{}, nil
		},
	}).serve(t)
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"disconnect -d a1B2c3D4e5F/dev-001", exitOK, "a1B2c3D4e5F/dev-001 is idle"},
		{"disconnect -d a1B2c3D4e5F/dev-001 -o json", exitOK, `"state":"LINK_STATE_IDLE"`},
		{"forget -d a1B2c3D4e5F/dev-001", exitFailed, "it is connected"},
		{"forget -d a1B2c3D4e5F/dev-001 --force", exitOK, "a1B2c3D4e5F/dev-001 is forgotten"},
		{"forget -d a1B2c3D4e5F/dev-001 --force -o json", exitOK, "{}\n"},
	} {
		if r := f.run(t, strings.Fields(row.args)...); r.code != row.code || !strings.Contains(r.stdout+r.stderr, row.want) {
			t.Errorf("%s: %+v", row.args, r)
		}
	}
}

// certificate makes one for localhost that signs itself, as files.
func certificate(t *testing.T) (pair tls.Certificate, certFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestOverTCPItVerifiesTheSidecarAndSendsTheToken(t *testing.T) {
	pair, ca := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	f := &fakeSidecar{connect: func(ctx context.Context, _ *pb.ConnectRequest) (*pb.ConnectResponse, error) {
		sent = metadata.ValueFromIncomingContext(ctx, "authorization")
		return &pb.ConnectResponse{Status: online(dev001)}, nil
	}}
	f.serveOn(t, l, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	_, port, _ := net.SplitHostPort(l.Addr().String())
	address := "localhost:" + port
	token := write(t, "a-long-enough-token\n")

	r := invocation{address: address}.run(t, "connect", "--server-ca-file", ca, "--token-file", token)
	if r.code != exitOK || len(sent) != 1 || sent[0] != "Bearer a-long-enough-token" {
		t.Errorf("%+v, sent %q", r, sent)
	}
	_, other := certificate(t)
	if r = (invocation{address: address}).run(t, "connect", "--server-ca-file", other, "--timeout", "5"); r.code != exitUnreachable || !strings.Contains(r.stderr, "certificate") {
		t.Errorf("an untrusted sidecar: %+v", r)
	}
	if r = (invocation{address: address}).run(t, "connect", "--timeout", "5"); r.code != exitUnreachable {
		t.Errorf("plain to TLS: %+v", r)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serveOn(t, plain)
	if r = (invocation{address: plain.Addr().String()}).run(t, "connect"); r.code != exitOK {
		t.Errorf("plain on loopback: %+v", r)
	}
}
