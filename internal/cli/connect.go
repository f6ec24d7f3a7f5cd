package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

var waits = []string{"outcome", "outcome-or-give-up", "none"}

// connectFlags are a ConnectRequest.
type connectFlags struct {
	device string
	targetFlags
	plainTCP bool

	secretFile             string
	tokenFile, tokenClient string
	mqttClient, mqttUser   string
	mqttPasswordFile       string

	keepAlive, connectTimeout time.Duration
	cleanSession              bool
	protocol                  string
	maxInflight               uint16
	maxQueued                 uint32
	minDelay, maxDelay        time.Duration
	interfaces                []string
	wait                      string
	replace                   bool
}

func (r *run) connectCommand() *cobra.Command {
	var f connectFlags
	var cmd *cobra.Command
	cmd, o := r.clientCommand(&cobra.Command{
		Use:   "connect",
		Short: "Make the sidecar keep a device online",
		Long: `Makes the sidecar keep a device online, over losses and restarts, until "disconnect". It waits for the outcome of the first
attempt; exit code 0 means online. When --timeout passes first the exit code is 5 and the sidecar goes on trying, unless
--wait outcome-or-give-up.

The device proves itself with what the sidecar has stored, or with a credential that is given here: it takes the stored one's
place once the platform has accepted it, and is dropped when the platform refuses it.

For a device that is wanted with the same settings nothing changes, so several programs may do this. Other settings are
refused unless --replace.

Exit codes: 0 online (with --wait none: the wish is written down); 1 not online; 2 wrong flags; 3 no sidecar; 4 refused by
the platform: it will not try again by itself; 5 no outcome within --timeout.`,
		Example: `    linkkit-sidecar connect                                     # the only device that the sidecar knows
    linkkit-sidecar connect --device a1B2c3D4e5F/dev-001 --device-secret-file dev-001.secret --region cn-shanghai
    linkkit-sidecar connect -d a1B2c3D4e5F/dev-001 --instance-id iot-0123abc --keep-alive 300 --wait none
    linkkit-sidecar connect -d a1B2c3D4e5F/dev-001 --host localhost --port 8883 --ca-file ca.pem    # the sandbox`,
	}, 30*time.Second, func(ctx context.Context, c *client) error {
		request, err := f.request(r, cmd.Flags().Changed)
		if err != nil {
			return err
		}
		response, err := c.Connect(ctx, request)
		if err != nil {
			return err
		}
		return r.printStatus(response.GetStatus())
	})
	fs := cmd.Flags()
	r.deviceFlag(cmd, &f.device, "the `device`, PRODUCT_KEY/DEVICE_NAME; default: the only one that the sidecar knows")
	fs.StringVar(&f.secretFile, "device-secret-file", "", "`file` with the device's secret; - is standard input")
	fs.StringVar(&f.tokenFile, "device-token-file", "", "`file` with a device token, with --device-token-client-id")
	fs.StringVar(&f.tokenClient, "device-token-client-id", "", "the client `id` that belongs to the token")
	fs.StringVar(&f.mqttPasswordFile, "mqtt-password-file", "", "`file` with the password of a ready-made MQTT login, with the two flags below")
	fs.StringVar(&f.mqttClient, "mqtt-client-id", "", "the client `id` of a ready-made MQTT login")
	fs.StringVar(&f.mqttUser, "mqtt-username", "", "the user `name` of a ready-made MQTT login")
	f.targetFlags.add(cmd)
	fs.BoolVar(&f.plainTCP, "plain-tcp", false, "no TLS at all: everything is readable on the wire")
	fs.Var(config.Seconds(&f.keepAlive, time.Minute), "keep-alive", "MQTT keep alive in `seconds`, 30 to 1200")
	fs.BoolVar(&f.cleanSession, "clean-session", true, "start without the session that the platform kept; false keeps QoS 1 messages for 7 days")
	fs.Var(config.Choice(&f.protocol, "3.1.1", config.Protocols), "protocol", "`version` of MQTT: "+strings.Join(config.Protocols, " or "))
	fs.Uint16Var(&f.maxInflight, "max-inflight", 20, "QoS 1 `messages` under way at once")
	fs.Uint32Var(&f.maxQueued, "max-queued", 0, "QoS 1 `messages` that may wait for their turn; 0 is no limit")
	fs.Var(config.Seconds(&f.connectTimeout, 20*time.Second), "connect-timeout", "`seconds` for one attempt, 1 to 120")
	fs.Var(config.Seconds(&f.minDelay, time.Second), "reconnect-min-delay", "least `seconds` between two attempts, 1 to 7200")
	fs.Var(config.Seconds(&f.maxDelay, time.Minute), "reconnect-max-delay", "most `seconds` between two attempts, 1 to 7200")
	fs.StringArrayVar(&f.interfaces, "network-interface", nil,
		"`interface` for the platform's console: ethernet:MAC, wifi:MAC, or cellular:imei=N,iccid=N,imsi=N,msisdn=N; repeatable")
	fs.Var(config.Choice(&f.wait, "outcome", waits), "wait", "`what` to wait for: "+strings.Join(waits, ", "))
	fs.BoolVar(&f.replace, "replace", false, "take these settings although the device is wanted with others")
	cmd.MarkFlagsRequiredTogether("device-token-file", "device-token-client-id")
	cmd.MarkFlagsRequiredTogether("mqtt-password-file", "mqtt-client-id", "mqtt-username")
	cmd.MarkFlagsMutuallyExclusive("device-secret-file", "device-token-file", "mqtt-password-file")
	complete(cmd, "protocol", config.Protocols)
	complete(cmd, "wait", waits)
	o.connectionFlags(cmd)
	return cmd
}

// request is what the flags ask for. given reports whether a flag was given: what was not is the sidecar's default to choose.
func (f *connectFlags) request(r *run, given func(flag string) bool) (*pb.ConnectRequest, error) {
	dev, err := theDevice(f.device)
	if err != nil {
		return nil, err
	}
	request := &pb.ConnectRequest{
		Device: dev, Endpoint: f.endpoint(), DialAddress: f.dialAddress, SignMethod: f.sign(), Replace: f.replace,
		Mqtt: &pb.MqttSettings{
			Protocol:    pb.MqttProtocol(pb.MqttProtocol_value["MQTT_PROTOCOL_"+strings.ReplaceAll(f.protocol, ".", "_")]),
			MaxInflight: uint32(f.maxInflight), MaxQueued: f.maxQueued, ConnectTimeout: wholeSeconds(f.connectTimeout),
		},
		Reconnect: &pb.ReconnectSettings{MinDelay: wholeSeconds(f.minDelay), MaxDelay: wholeSeconds(f.maxDelay)},
		Wait:      pb.ConnectWait(pb.ConnectWait_value["CONNECT_WAIT_"+strings.ToUpper(strings.ReplaceAll(f.wait, "-", "_"))]),
	}
	if given("keep-alive") {
		request.Mqtt.KeepAlive = new(wholeSeconds(f.keepAlive))
	}
	if given("clean-session") {
		request.Mqtt.CleanSession = &f.cleanSession
	}
	if request.Tls, err = f.tls(); err != nil {
		return nil, err
	}
	request.Tls.PlainTcp = f.plainTCP
	for _, text := range f.interfaces {
		i, err := networkInterface(text)
		if err != nil {
			return nil, usage(fmt.Errorf("--network-interface %s: %w", quoted(text), err))
		}
		request.NetworkInterfaces = append(request.NetworkInterfaces, i)
	}
	return request, f.credential(r, request)
}

// credential puts what was given as a file into the request; nothing given is the stored one.
func (f *connectFlags) credential(r *run, request *pb.ConnectRequest) error {
	read := func(flag, path string, put func(secret string)) error {
		secret, err := r.secrets.Read(path)
		if err != nil {
			return usage(fmt.Errorf("--%s: %w", flag, err))
		}
		put(secret.Reveal())
		return nil
	}
	switch {
	case f.secretFile != "":
		return read("device-secret-file", f.secretFile, func(secret string) {
			request.Credential = &pb.ConnectRequest_DeviceSecret{DeviceSecret: secret}
		})
	case f.tokenFile != "":
		return read("device-token-file", f.tokenFile, func(secret string) {
			request.Credential = &pb.ConnectRequest_DeviceToken{DeviceToken: &pb.DeviceToken{ClientId: f.tokenClient, Token: secret}}
		})
	case f.mqttPasswordFile != "":
		return read("mqtt-password-file", f.mqttPasswordFile, func(secret string) {
			request.Credential = &pb.ConnectRequest_MqttCredential{
				MqttCredential: &pb.MqttCredential{ClientId: f.mqttClient, Username: f.mqttUser, Password: secret},
			}
		})
	}
	return nil
}

// networkInterface reads "ethernet:MAC", "wifi:MAC" or "cellular:NAME=NUMBER,…". The rules of the numbers are the sidecar's.
func networkInterface(text string) (*pb.NetworkInterface, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "ethernet":
		return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Ethernet{Ethernet: &pb.EthernetInterface{Mac: rest}}}, nil
	case "wifi":
		return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Wifi{Wifi: &pb.WifiInterface{Mac: rest}}}, nil
	case "cellular":
		modem := &pb.CellularInterface{}
		fields := map[string]*string{"imei": &modem.Imei, "iccid": &modem.Iccid, "imsi": &modem.Imsi, "msisdn": &modem.Msisdn}
		for part := range strings.SplitSeq(rest, ",") {
			name, number, _ := strings.Cut(part, "=")
			if fields[name] == nil || number == "" {
				return nil, fmt.Errorf("%s must be imei=N, iccid=N, imsi=N or msisdn=N", quoted(part))
			}
			*fields[name] = number
		}
		return &pb.NetworkInterface{Interface: &pb.NetworkInterface_Cellular{Cellular: modem}}, nil
	}
	return nil, errors.New("must begin with one of ethernet: wifi: cellular: and go on with its numbers")
}

func wholeSeconds(d time.Duration) uint32 { return uint32(d / time.Second) }
