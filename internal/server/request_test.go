package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// interfaces have 149 characters when rendered, and the number's.
func interfaces(number string) []*pb.NetworkInterface {
	return []*pb.NetworkInterface{
		{Interface: &pb.NetworkInterface_Wifi{Wifi: &pb.WifiInterface{Mac: "00:11:22:33:44:55"}}},
		{Interface: &pb.NetworkInterface_Cellular{Cellular: &pb.CellularInterface{
			Imei: "12345678901234567890", Iccid: "123456789012345678901234", Imsi: "12345678901234567890", Msisdn: "12345678901234567",
		}}},
		{Interface: &pb.NetworkInterface_Cellular{Cellular: &pb.CellularInterface{Imei: number}}},
	}
}

func TestBadInputIsAnsweredWithTheFieldAndTheRule(t *testing.T) {
	w := serve(t)
	c := w.client()
	connect := func(change func(r *pb.ConnectRequest)) func(*metadata.MD) error {
		return func(trailer *metadata.MD) error {
			r := &pb.ConnectRequest{Device: named(dev1), Endpoint: &pb.Endpoint{}, Tls: &pb.TlsSettings{}, Mqtt: &pb.MqttSettings{}, Reconnect: &pb.ReconnectSettings{}}
			change(r)
			_, err := c.Connect(t.Context(), r, grpc.Trailer(trailer))
			return err
		}
	}
	register := func(change func(r *pb.RegisterRequest)) func(*metadata.MD) error {
		return func(trailer *metadata.MD) error {
			r := &pb.RegisterRequest{Device: named(dev1), Method: pb.RegistrationMethod_REGISTRATION_METHOD_PRE_REGISTERED, ProductSecret: "p"}
			change(r)
			_, err := c.Register(t.Context(), r, grpc.Trailer(trailer))
			return err
		}
	}
	secret := func(s string) *pb.ConnectRequest_DeviceSecret {
		return &pb.ConnectRequest_DeviceSecret{DeviceSecret: s}
	}
	mac := func(s string) []*pb.NetworkInterface {
		return []*pb.NetworkInterface{{Interface: &pb.NetworkInterface_Wifi{Wifi: &pb.WifiInterface{Mac: s}}}}
	}
	for _, b := range []struct {
		call        func(*metadata.MD) error
		field, rule string
	}{
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.KeepAlive = proto.Uint32(29) }), "mqtt.keep_alive", "30"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.KeepAlive = proto.Uint32(1201) }), "mqtt.keep_alive", "1200"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.KeepAlive = proto.Uint32(0) }), "mqtt.keep_alive", "30"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.MaxInflight = 65536 }), "mqtt.max_inflight", "65535"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.MaxQueued = 1_000_001 }), "mqtt.max_queued", "1000000"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.ConnectTimeout = 121 }), "mqtt.connect_timeout", "120"},
		{connect(func(r *pb.ConnectRequest) { r.Mqtt.Protocol = 9 }), "mqtt.protocol", "defined"},
		{connect(func(r *pb.ConnectRequest) { r.Reconnect.MinDelay, r.Reconnect.MaxDelay = 10, 5 }), "reconnect", "max_delay"},
		{connect(func(r *pb.ConnectRequest) { r.Reconnect.MinDelay = 61 }), "reconnect", "60"},
		{connect(func(r *pb.ConnectRequest) { r.Reconnect.MaxDelay = 7201 }), "reconnect.max_delay", "7200"},
		{connect(func(r *pb.ConnectRequest) { r.Device.ProductKey = "" }), "device.product_key", "{1,20}"},
		{connect(func(r *pb.ConnectRequest) { r.Device.ProductKey = strings.Repeat("a", 21) }), "device.product_key", "{1,20}"},
		{connect(func(r *pb.ConnectRequest) { r.Device.DeviceName = "" }), "device.device_name", "{1,64}"},
		{connect(func(r *pb.ConnectRequest) { r.Device.DeviceName = strings.Repeat("a", 65) }), "device.device_name", "{1,64}"},
		{connect(func(r *pb.ConnectRequest) { r.Device.DeviceName = "a|b" }), "device.device_name", "{1,64}"},
		{connect(func(r *pb.ConnectRequest) { r.Credential = secret("") }), "device_secret", "1"},
		{connect(func(r *pb.ConnectRequest) { r.Credential = secret(strings.Repeat("s", 65)) }), "device_secret", "64"},
		{connect(func(r *pb.ConnectRequest) {
			r.Credential = &pb.ConnectRequest_DeviceToken{DeviceToken: &pb.DeviceToken{ClientId: "a|b", Token: "t"}}
		}), "device_token.client_id", "|"},
		{connect(func(r *pb.ConnectRequest) { r.NetworkInterfaces = mac("00:11:22:33:44") }), "network_interfaces[0].wifi.mac", "A-F"},
		{connect(func(r *pb.ConnectRequest) { r.NetworkInterfaces = mac("") }), "network_interfaces[0].wifi.mac", "A-F"},
		{connect(func(r *pb.ConnectRequest) { r.NetworkInterfaces = []*pb.NetworkInterface{{}} }), "network_interfaces[0].interface", "required"},
		{connect(func(r *pb.ConnectRequest) {
			r.NetworkInterfaces = []*pb.NetworkInterface{{Interface: &pb.NetworkInterface_Cellular{Cellular: &pb.CellularInterface{}}}}
		}), "network_interfaces[0].cellular", "at least one"},
		{connect(func(r *pb.ConnectRequest) {
			r.NetworkInterfaces = interfaces("123456789012")
		}), "network_interfaces", "161 characters; the platform takes 160"},
		{connect(func(r *pb.ConnectRequest) { r.Endpoint.Host = "192.0.2.1" }), "endpoint.host", "dial_address"},
		{connect(func(r *pb.ConnectRequest) { r.Endpoint.Host, r.Endpoint.Region = "h", "cn-shanghai" }), "endpoint", "at most one"},
		{connect(func(r *pb.ConnectRequest) { r.Endpoint.Region = "mars" }), "endpoint.region", "cn-shanghai"},
		{connect(func(r *pb.ConnectRequest) { r.Endpoint.Port = 65536 }), "endpoint.port", "65535"},
		{connect(func(r *pb.ConnectRequest) { r.DialAddress = "localhost" }), "dial_address", "IP"},
		{connect(func(r *pb.ConnectRequest) { r.Tls.CaPem = "x" }), "tls.ca_pem", "PEM"},
		{connect(func(r *pb.ConnectRequest) { r.Wait = 9 }), "wait", "defined"},
		{register(func(r *pb.RegisterRequest) { r.Device = nil }), "device", "required"},
		{register(func(r *pb.RegisterRequest) { r.Method = 0 }), "method", "0"},
		{register(func(r *pb.RegisterRequest) { r.Method = 4 }), "method", "defined"},
		{register(func(r *pb.RegisterRequest) { r.ProductSecret = "" }), "product_secret", "1"},
		{func(trailer *metadata.MD) error {
			_, err := c.ListDevices(t.Context(), &pb.ListDevicesRequest{PageSize: 1001}, grpc.Trailer(trailer))
			return err
		}, "page_size", "1000"},
		{func(trailer *metadata.MD) error {
			_, err := c.ListDevices(t.Context(), &pb.ListDevicesRequest{PageToken: "x"}, grpc.Trailer(trailer))
			return err
		}, "page_token", "next_page_token"},
		{func(trailer *metadata.MD) error { // rules of a stream's request are kept too
			s, err := c.Events(t.Context(), &pb.EventsRequest{Kinds: []pb.EventKind{99}})
			if err == nil {
				_, err = s.Recv()
				*trailer = s.Trailer()
			}
			return err
		}, "kinds[0]", "defined"},
	} {
		var trailer metadata.MD
		err := b.call(&trailer)
		if err == nil {
			t.Errorf("%s, %s: it was taken", b.field, b.rule)
			continue
		}
		r := refusalOf(t, err)
		if r.code != codes.InvalidArgument || r.reason != "INVALID_REQUEST" || len(r.fields) != 1 || !strings.Contains(r.fields[b.field], b.rule) {
			t.Errorf("%s: %v %s, fields %q, want %q", b.field, r.code, r.reason, r.fields, b.rule)
		}
		if !strings.Contains(r.message, b.field) {
			t.Errorf("%s: the message is %q", b.field, r.message)
		}
		if got := trailerReason(trailer); got != "INVALID_REQUEST" {
			t.Errorf("%s: the trailer says %q", b.field, got)
		}
	}
	if len(w.devices.Devices()) != 0 {
		t.Errorf("a device became known: %v", w.devices.Devices())
	}
}

func TestWhatIsJustWithinTheRulesIsTaken(t *testing.T) {
	w := serve(t)
	for _, keepAlive := range []uint32{30, 1200} {
		if _, err := w.client().Connect(t.Context(), &pb.ConnectRequest{
			Device:   &pb.Device{ProductKey: strings.Repeat("k", 20), DeviceName: strings.Repeat("n", 64)},
			Endpoint: &pb.Endpoint{Host: "192.0.2.1"}, Tls: &pb.TlsSettings{SkipHostnameVerification: true},
			Mqtt:              &pb.MqttSettings{KeepAlive: &keepAlive},
			NetworkInterfaces: interfaces("12345678901"),
		}); err != nil {
			t.Error(err)
		}
	}
	if got := w.devices.connects[0].Settings.InterfaceInfo; len(got) != 160 {
		t.Errorf("%d characters: %s", len(got), got)
	}
}

func TestWhatIsLeftOutIsTheSameAsItsDefaultSpeltOut(t *testing.T) {
	bare, err := settingsFrom(&pb.ConnectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	spelt, err := settingsFrom(&pb.ConnectRequest{
		Endpoint: &pb.Endpoint{Region: "cn-shanghai", Port: 8883}, Tls: &pb.TlsSettings{},
		Mqtt: &pb.MqttSettings{
			KeepAlive: proto.Uint32(60), CleanSession: new(true), Protocol: pb.MqttProtocol_MQTT_PROTOCOL_3_1_1, MaxInflight: 20, ConnectTimeout: 20,
		},
		Reconnect: &pb.ReconnectSettings{MinDelay: 1, MaxDelay: 60}, SignMethod: pb.SignMethod_SIGN_METHOD_HMACSHA256,
	})
	if err != nil {
		t.Fatal(err)
	}
	if bare != spelt {
		t.Errorf("%+v\n%+v", bare, spelt)
	}
	want := conn.DefaultSettings()
	want.Endpoint = platform.Endpoint{Region: "cn-shanghai", Port: 8883}
	if bare != want {
		t.Errorf("%+v\n%+v", bare, want)
	}
}

func TestARequestBecomesSettings(t *testing.T) {
	w := serve(t)
	if _, err := w.client().Connect(t.Context(), &pb.ConnectRequest{
		Device:      named(dev1),
		Credential:  &pb.ConnectRequest_MqttCredential{MqttCredential: &pb.MqttCredential{ClientId: "c", Username: "u", Password: "p"}},
		Endpoint:    &pb.Endpoint{Host: "localhost", Port: 1883},
		DialAddress: "127.0.0.1:1884",
		Tls:         &pb.TlsSettings{SystemRoots: true, PlainTcp: true},
		Mqtt: &pb.MqttSettings{
			KeepAlive: proto.Uint32(90), CleanSession: new(false), Protocol: pb.MqttProtocol_MQTT_PROTOCOL_3_1, MaxInflight: 5, MaxQueued: 7, ConnectTimeout: 9,
		},
		Reconnect:  &pb.ReconnectSettings{MinDelay: 2, MaxDelay: 3},
		SignMethod: pb.SignMethod_SIGN_METHOD_HMACSHA1,
		NetworkInterfaces: []*pb.NetworkInterface{
			{Interface: &pb.NetworkInterface_Ethernet{Ethernet: &pb.EthernetInterface{Mac: "03:ac:de:ff:00:32"}}},
			{Interface: &pb.NetworkInterface_Wifi{Wifi: &pb.WifiInterface{Mac: "03ACDEFF0033"}}},
			{Interface: &pb.NetworkInterface_Cellular{Cellular: &pb.CellularInterface{Imei: "1", Iccid: "2", Imsi: "3", Msisdn: "4"}}},
		},
		Wait: pb.ConnectWait_CONNECT_WAIT_OUTCOME_OR_GIVE_UP, Replace: true,
	}); err != nil {
		t.Fatal(err)
	}
	got := w.devices.connects[0]
	if c := got.Credential; c == nil || c.Kind != credential.MQTT || c.ClientID != "c" || c.Username != "u" || c.Secret.Reveal() != "p" || c.Source != "connect" {
		t.Errorf("%+v", c)
	}
	got.Credential = nil
	want := conn.ConnectRequest{
		Device: dev1, Wait: conn.WaitOutcomeOrGiveUp, Replace: true,
		Settings: conn.Settings{
			Target: conn.Target{
				Endpoint: platform.Endpoint{Host: "localhost", Port: 1883}, DialAddress: "127.0.0.1:1884", TLS: conn.TLS{SystemRoots: true, PlainTCP: true},
			},
			KeepAlive: 90 * time.Second, Protocol: 3, MaxInflight: 5, MaxQueued: 7, ConnectTimeout: 9 * time.Second,
			ReconnectMin: 2 * time.Second, ReconnectMax: 3 * time.Second, SignMethod: platform.HMACSHA1,
			InterfaceInfo: "Eth|03ACDEFF0032|WiFi|03ACDEFF0033|Cellular|imei_1|iccid_2|imsi_3|msisdn_4",
		},
	}
	if got != want {
		t.Errorf("%+v\n%+v", got, want)
	}
}

func TestTheWaysToProveWhoTheDeviceIs(t *testing.T) {
	if c := credentialFrom(&pb.ConnectRequest{}); c != nil {
		t.Errorf("%+v", c)
	}
	secret := credentialFrom(&pb.ConnectRequest{Credential: &pb.ConnectRequest_DeviceSecret{DeviceSecret: "s"}})
	if secret.Kind != credential.DeviceSecret || secret.Secret.Reveal() != "s" || secret.Validate() != nil {
		t.Errorf("%+v", secret)
	}
	token := credentialFrom(&pb.ConnectRequest{Credential: &pb.ConnectRequest_DeviceToken{DeviceToken: &pb.DeviceToken{ClientId: "c", Token: "t"}}})
	if token.Kind != credential.DeviceToken || token.ClientID != "c" || token.Secret.Reveal() != "t" || token.Validate() != nil {
		t.Errorf("%+v", token)
	}
}

func TestEveryChoiceOfTheContractIsTranslated(t *testing.T) {
	for n := range pb.SignMethod_name {
		if m := signMethods[pb.SignMethod(n)]; m == "" {
			t.Errorf("sign method %d", n)
		}
	}
	for n := range pb.MqttProtocol_name {
		if v := protocols[pb.MqttProtocol(n)]; v != 3 && v != 4 {
			t.Errorf("protocol %d", n)
		}
	}
	for n := range pb.ConnectWait_name {
		if _, ok := waits[pb.ConnectWait(n)]; !ok {
			t.Errorf("wait %d", n)
		}
	}
	if len(credentialKinds)+1 != len(pb.CredentialKind_name) {
		t.Error("a kind of credential is missing")
	}
}

func TestASecretIsRevealedOnlyWhenAsked(t *testing.T) {
	w := serve(t)
	stored := credential.Credential{Kind: credential.DeviceSecret, Secret: device.NewSecret("hunter2"), Source: "register/PRE_REGISTERED", StoredAt: time.Now()}
	var asked conn.RegisterRequest
	w.devices.register = func(r conn.RegisterRequest) (credential.Credential, error) { asked = r; return stored, nil }
	c := w.client()
	request := &pb.RegisterRequest{
		Device: named(dev1), Method: pb.RegistrationMethod_REGISTRATION_METHOD_HTTPS_LEGACY, ProductSecret: "p",
		Endpoint: &pb.Endpoint{Host: "localhost"}, DialAddress: "127.0.0.1", Replace: true,
	}
	got, err := c.Register(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetDeviceSecret() != "" || got.GetDeviceToken() != nil || got.GetCredential().GetFingerprint() != stored.Fingerprint() ||
		got.GetCredential().GetKind() != pb.CredentialKind_CREDENTIAL_KIND_DEVICE_SECRET || got.GetCredential().GetStoredTime() == nil {
		t.Errorf("%v", got)
	}
	if r := asked.Registration; r.Method != platform.HTTPSLegacy || r.ProductSecret.Reveal() != "p" || r.Endpoint != (platform.Endpoint{Host: "localhost"}) ||
		r.SignMethod != platform.HMACSHA256 || !asked.Replace || asked.Target.DialAddress != "127.0.0.1" {
		t.Errorf("%+v", asked)
	}
	request.RevealCredential = true
	if got, err := c.Register(t.Context(), request); err != nil || got.GetDeviceSecret() != "hunter2" {
		t.Errorf("%v", err)
	}
	stored.Kind, stored.ClientID = credential.DeviceToken, "c"
	if got, err := c.Register(t.Context(), request); err != nil || got.GetDeviceSecret() != "" || got.GetDeviceToken().GetToken() != "hunter2" || got.GetDeviceToken().GetClientId() != "c" {
		t.Errorf("%v", err)
	}
}

func TestAllThatIsKnownOfADeviceIsTold(t *testing.T) {
	now := time.Now()
	to := statusTo(event.Status{
		Device: dev1, State: event.Waiting, StateTime: now, Wanted: true, Endpoint: "h:1", Attempt: 2, NextAttempt: now, LastCause: event.CauseDNS, LastDetail: "d",
		LastCauseTime: now, SessionPresent: true, TakeoverSuspected: true, RegistrationInterrupted: true,
		Credential: &event.CredentialInfo{Kind: "mqtt", Fingerprint: "f", Source: "connect", StoredAt: now},
		Counters: event.Counters{
			Attempts: 1, Connects: 2, Refusals: 3, Losses: 4, Unclaimed: 5, BytesReceived: 6, BytesSent: 7,
			MessagesSent: 8, MessagesUnknown: 9, MessagesReceived: 10, Stored: 11, StoredSent: 12, StoredExpired: 13, StoredDropped: 14, StoredRefused: 15, SlowReader: 16, InboxFull: 17, InboxStorage: 18, DeadLetters: 19, ByConsumer: 20,
		},
		Queue: event.Queue{Waiting: 1, InFlight: 2, StoredMessages: 3, StoredBytes: 4, OldestStored: now, MessagesPerSecond: 5, BytesPerSecond: 6, Shaped: true},
	})
	for _, m := range []protoreflect.Message{to.ProtoReflect(), to.GetCredential().ProtoReflect(), to.GetCounters().ProtoReflect(), to.GetQueue().ProtoReflect()} {
		for i := range m.Descriptor().Fields().Len() {
			if f := m.Descriptor().Fields().Get(i); !m.Has(f) {
				t.Errorf("%s is left out", f.FullName())
			}
		}
	}
	if bare := statusTo(event.Status{Device: dev1, State: event.Idle}); bare.GetNextAttemptTime() != nil || bare.GetCredential() != nil || bare.GetStateTime() != nil {
		t.Errorf("what is not known is told: %v", bare)
	}
}

func TestDevicesAreListedInPages(t *testing.T) {
	w := serve(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.devices.become(dev(name), event.Idle, event.Disconnected{})
	}
	c := w.client()
	page := func(size uint32, token string) (names, next string) {
		t.Helper()
		got, err := c.ListDevices(t.Context(), &pb.ListDevicesRequest{PageSize: size, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.GetDevices() {
			names += s.GetDevice().GetDeviceName()
		}
		return names, got.GetNextPageToken()
	}
	if names, next := page(0, ""); names != "abcde" || next != "" {
		t.Errorf("%s, %q", names, next)
	}
	names, next := page(2, "")
	if names != "ab" {
		t.Errorf("%s", names)
	}
	if err := w.devices.Forget(t.Context(), dev("b"), true); err != nil { // the token's device goes, another comes before it
		t.Fatal(err)
	}
	w.devices.become(dev("a1"), event.Idle, event.Disconnected{})
	if names, next = page(2, next); names != "cd" {
		t.Errorf("%s", names)
	}
	if names, next = page(2, next); names != "e" || next != "" {
		t.Errorf("%s, %q", names, next)
	}
	if names, next = page(5, ""); names != "aa1cde" || next != "" { // the last page is full
		t.Errorf("%s, %q", names, next)
	}
}
