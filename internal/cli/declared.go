package cli

import (
	"fmt"
	"os"
	"strings"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/conn"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/server"
)

// declared are the devices of the configuration file as the requests that an app would make: both are checked by the same
// rules, and agree on which settings are the same.
func (r *run) declared(devices []config.Device) ([]conn.ConnectRequest, error) {
	var all []conn.ConnectRequest
	for _, d := range devices {
		request, err := r.declare(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", d.At, d.ID, err)
		}
		all = append(all, request)
	}
	return all, nil
}

func (r *run) declare(d config.Device) (conn.ConnectRequest, error) {
	request := &pb.ConnectRequest{
		Device:      &pb.Device{ProductKey: d.ID.ProductKey, DeviceName: d.ID.DeviceName},
		DialAddress: d.DialAddress,
		Endpoint: &pb.Endpoint{
			Region: d.Endpoint.Region, InstanceId: d.Endpoint.InstanceID, Host: d.Endpoint.Host, Port: uint32(d.Endpoint.Port),
		},
		Tls: &pb.TlsSettings{
			SystemRoots: d.TLS.SystemRoots, SkipHostnameVerification: d.TLS.SkipHostnameVerification, PlainTcp: d.TLS.PlainTCP,
		},
		Mqtt: &pb.MqttSettings{
			CleanSession: d.MQTT.CleanSession, MaxInflight: uint32(d.MQTT.MaxInflight), MaxQueued: uint32(d.MQTT.MaxQueued),
			ConnectTimeout: wholeSeconds(d.MQTT.ConnectTimeout),
			Protocol:       pb.MqttProtocol(pb.MqttProtocol_value["MQTT_PROTOCOL_"+strings.ReplaceAll(d.MQTT.Protocol, ".", "_")]),
		},
		Reconnect:  &pb.ReconnectSettings{MinDelay: wholeSeconds(d.Reconnect.MinDelay), MaxDelay: wholeSeconds(d.Reconnect.MaxDelay)},
		SignMethod: pb.SignMethod(pb.SignMethod_value["SIGN_METHOD_"+strings.ToUpper(d.SignMethod)]),
		Wait:       pb.ConnectWait_CONNECT_WAIT_NONE,
		Replace:    true, // at the start the file has the last word
	}
	if d.MQTT.KeepAlive != 0 {
		request.Mqtt.KeepAlive = new(wholeSeconds(d.MQTT.KeepAlive))
	}
	for _, i := range d.Interfaces {
		request.NetworkInterfaces = append(request.NetworkInterfaces, interfaceOf(i))
	}
	if d.TLS.CAFile != "" {
		pem, err := os.ReadFile(d.TLS.CAFile)
		if err != nil {
			return conn.ConnectRequest{}, fmt.Errorf("tls.ca_file: %w", err)
		}
		request.Tls.CaPem = string(pem)
	}
	if d.DeviceSecretFile != "" {
		secret, err := r.secrets.Read(d.DeviceSecretFile)
		if err != nil {
			return conn.ConnectRequest{}, fmt.Errorf("device_secret_file: %w", err)
		}
		request.Credential = &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret.Reveal()}
	}
	translated, err := server.ConnectRequest(request)
	if translated.Credential != nil {
		translated.Credential.Source = "configuration"
	}
	return translated, err
}

func interfaceOf(i config.Interface) *pb.NetworkInterface {
	switch i.Kind {
	case "ethernet":
		return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Ethernet{Ethernet: &pb.EthernetInterface{Mac: i.MAC}}}
	case "wifi":
		return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Wifi{Wifi: &pb.WifiInterface{Mac: i.MAC}}}
	}
	return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Cellular{
		Cellular: &pb.CellularInterface{Imei: i.IMEI, Iccid: i.ICCID, Imsi: i.IMSI, Msisdn: i.MSISDN},
	}}
}
