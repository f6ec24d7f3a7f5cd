package server

import (
	"time"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// idFrom is the device that a request names; zero when it names none.
func idFrom(d *pb.Device) device.ID {
	return device.ID{ProductKey: d.GetProductKey(), DeviceName: d.GetDeviceName()}
}

// signMethods are those of the contract; the zero value leaves the choice to the sidecar.
var signMethods = map[pb.SignMethod]platform.SignMethod{
	pb.SignMethod_SIGN_METHOD_UNSPECIFIED: platform.DefaultSignMethod,
	pb.SignMethod_SIGN_METHOD_HMACMD5:     platform.HMACMD5,
	pb.SignMethod_SIGN_METHOD_HMACSHA1:    platform.HMACSHA1,
	pb.SignMethod_SIGN_METHOD_HMACSHA256:  platform.HMACSHA256,
}

var protocols = map[pb.MqttProtocol]uint{
	pb.MqttProtocol_MQTT_PROTOCOL_UNSPECIFIED: 4,
	pb.MqttProtocol_MQTT_PROTOCOL_3_1_1:       4,
	pb.MqttProtocol_MQTT_PROTOCOL_3_1:         3,
}

var waits = map[pb.ConnectWait]conn.Wait{
	pb.ConnectWait_CONNECT_WAIT_UNSPECIFIED:        conn.WaitOutcome,
	pb.ConnectWait_CONNECT_WAIT_OUTCOME:            conn.WaitOutcome,
	pb.ConnectWait_CONNECT_WAIT_OUTCOME_OR_GIVE_UP: conn.WaitOutcomeOrGiveUp,
	pb.ConnectWait_CONNECT_WAIT_NONE:               conn.WaitNone,
}

func registerRequestFrom(r *pb.RegisterRequest) conn.RegisterRequest {
	return conn.RegisterRequest{
		Registration: platform.Registration{
			ID:            idFrom(r.GetDevice()),
			Method:        platform.RegistrationMethod(r.GetMethod()),
			ProductSecret: device.NewSecret(r.GetProductSecret()),
			SignMethod:    signMethods[r.GetSignMethod()],
			Endpoint:      endpointFrom(r.GetEndpoint()),
		},
		Target:  conn.Target{DialAddress: r.GetDialAddress(), TLS: tlsFrom(r.GetTls())},
		Replace: r.GetReplace(),
	}
}

func connectRequestFrom(id device.ID, r *pb.ConnectRequest) (conn.ConnectRequest, error) {
	settings, err := settingsFrom(r)
	return conn.ConnectRequest{
		Device:     id,
		Credential: credentialFrom(r),
		Settings:   settings,
		Wait:       waits[r.GetWait()],
		Replace:    r.GetReplace(),
	}, err
}

// credentialFrom is the credential that came with a request; nil when none did.
func credentialFrom(r *pb.ConnectRequest) *credential.Credential {
	c := credential.Credential{Source: "connect"}
	switch given := r.GetCredential().(type) {
	case *pb.ConnectRequest_DeviceSecret:
		c.Kind, c.Secret = credential.DeviceSecret, device.NewSecret(given.DeviceSecret)
	case *pb.ConnectRequest_DeviceToken:
		d := given.DeviceToken
		c.Kind, c.ClientID, c.Secret = credential.DeviceToken, d.GetClientId(), device.NewSecret(d.GetToken())
	case *pb.ConnectRequest_MqttCredential:
		m := given.MqttCredential
		c.Kind, c.ClientID, c.Username, c.Secret = credential.MQTT, m.GetClientId(), m.GetUsername(), device.NewSecret(m.GetPassword())
	default:
		return nil
	}
	return &c
}

// settingsFrom fills in what was left out, so that a default that is spelt out is the same as one that is not: settings are
// compared.
func settingsFrom(r *pb.ConnectRequest) (conn.Settings, error) {
	s := conn.DefaultSettings()
	s.Target = conn.Target{Endpoint: endpointFrom(r.GetEndpoint()), DialAddress: r.GetDialAddress(), TLS: tlsFrom(r.GetTls())}
	if s.Endpoint == (platform.Endpoint{Port: s.Endpoint.Port}) {
		s.Endpoint.Region = platform.DefaultRegion
	}
	if s.Endpoint.Port == 0 {
		s.Endpoint.Port = platform.DefaultPort
	}
	mqtt := r.GetMqtt()
	if mqtt != nil && mqtt.KeepAlive != nil {
		s.KeepAlive = seconds(mqtt.GetKeepAlive())
	}
	if mqtt != nil && mqtt.CleanSession != nil {
		s.CleanSession = mqtt.GetCleanSession()
	}
	if mqtt.GetMaxInflight() != 0 {
		s.MaxInflight = int(mqtt.GetMaxInflight())
	}
	if mqtt.GetConnectTimeout() != 0 {
		s.ConnectTimeout = seconds(mqtt.GetConnectTimeout())
	}
	s.MaxQueued, s.Protocol = int(mqtt.GetMaxQueued()), protocols[mqtt.GetProtocol()]
	if shortest := r.GetReconnect().GetMinDelay(); shortest != 0 {
		s.ReconnectMin = seconds(shortest)
	}
	if longest := r.GetReconnect().GetMaxDelay(); longest != 0 {
		s.ReconnectMax = seconds(longest)
	}
	s.SignMethod = signMethods[r.GetSignMethod()]
	var err error
	s.InterfaceInfo, err = platform.InterfaceInfo(interfacesFrom(r.GetNetworkInterfaces()))
	return s, err
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func endpointFrom(e *pb.Endpoint) platform.Endpoint {
	return platform.Endpoint{Region: e.GetRegion(), InstanceID: e.GetInstanceId(), Host: e.GetHost(), Port: int(e.GetPort())}
}

func tlsFrom(t *pb.TlsSettings) conn.TLS {
	return conn.TLS{
		CAPEM:                    t.GetCaPem(),
		SystemRoots:              t.GetSystemRoots(),
		SkipHostnameVerification: t.GetSkipHostnameVerification(),
		PlainTCP:                 t.GetPlainTcp(),
	}
}

func interfacesFrom(all []*pb.NetworkInterface) []platform.NetworkInterface {
	interfaces := make([]platform.NetworkInterface, len(all))
	for i, n := range all {
		switch n := n.GetInterface().(type) {
		case *pb.NetworkInterface_Ethernet:
			interfaces[i] = platform.Ethernet{MAC: n.Ethernet.GetMac()}
		case *pb.NetworkInterface_Wifi:
			interfaces[i] = platform.WiFi{MAC: n.Wifi.GetMac()}
		case *pb.NetworkInterface_Cellular:
			c := n.Cellular
			interfaces[i] = platform.Cellular{IMEI: c.GetImei(), ICCID: c.GetIccid(), IMSI: c.GetImsi(), MSISDN: c.GetMsisdn()}
		}
	}
	return interfaces
}

func selectionFrom(r *pb.EventsRequest) event.Selection {
	var s event.Selection
	for _, d := range r.GetDevices() {
		s.Devices = append(s.Devices, idFrom(d))
	}
	for _, k := range r.GetKinds() {
		s.Kinds = append(s.Kinds, event.Kind(k))
	}
	if after := r.GetAfter(); after != nil {
		s.After = &event.Cursor{Epoch: after.GetEpoch(), Sequence: after.GetSequence()}
	}
	return s
}
