package platform

import (
	"strings"
	"testing"
)

func TestEndpointsResolve(t *testing.T) {
	for _, c := range []struct {
		e    Endpoint
		host string
		port int
	}{
		{Endpoint{}, "a1B2c3D4e5F.iot-as-mqtt.cn-shanghai.aliyuncs.com", 8883},
		{Endpoint{Port: 1883}, "a1B2c3D4e5F.iot-as-mqtt.cn-shanghai.aliyuncs.com", 1883},
		{Endpoint{Region: "us-west-1", Port: 443}, "a1B2c3D4e5F.iot-as-mqtt.us-west-1.aliyuncs.com", 443},
		{Endpoint{InstanceID: "iot-060a0bgd"}, "iot-060a0bgd.mqtt.iothub.aliyuncs.com", 8883},
		{Endpoint{InstanceID: "iot-cn-0pp1n8t"}, "iot-cn-0pp1n8t.mqtt.iothub.aliyuncs.com", 8883},
		{Endpoint{Host: "broker.example.com", Port: 65535}, "broker.example.com", 65535},
		{Endpoint{Host: "localhost"}, "localhost", 8883},
		{Endpoint{Host: "my_broker"}, "my_broker", 8883},
		{Endpoint{Host: "broker.example.com."}, "broker.example.com.", 8883},
		{Endpoint{Host: "127.0.0.1", Port: 1}, "127.0.0.1", 1},
		{Endpoint{Host: "::1"}, "::1", 8883},
	} {
		host, port, err := c.e.Resolve("a1B2c3D4e5F")
		if host != c.host || port != c.port || err != nil || c.e.Validate() != nil {
			t.Errorf("%+v resolves to %q, %d, %v", c.e, host, port, err)
		}
		if c.e.Custom() != (c.e.Host != "") {
			t.Errorf("%+v: Custom is %v", c.e, c.e.Custom())
		}
	}
}

func TestEveryDocumentedRegionIsKnown(t *testing.T) {
	for _, region := range []string{"cn-shanghai", "ap-southeast-1", "ap-northeast-1", "us-west-1", "us-east-1", "eu-central-1"} {
		if host, _, err := (Endpoint{Region: region}).Resolve("pk"); host != "pk.iot-as-mqtt."+region+".aliyuncs.com" || err != nil {
			t.Errorf("%s: %q, %v", region, host, err)
		}
	}
}

func TestEndpointsThatCannotBeNameTheirField(t *testing.T) {
	for _, c := range []struct {
		e           Endpoint
		field, says string
	}{
		{Endpoint{Region: "cn-shanghai", InstanceID: "iot-1"}, "endpoint", "at most one"},
		{Endpoint{Region: "cn-shanghai", Host: "h"}, "endpoint", "at most one"},
		{Endpoint{InstanceID: "iot-1", Host: "h"}, "endpoint", "at most one"},
		{Endpoint{Region: "mars-north-1"}, "endpoint.region", "cn-shanghai, ap-southeast-1, ap-northeast-1, us-west-1, us-east-1, eu-central-1"},
		{Endpoint{Region: "CN-SHANGHAI"}, "endpoint.region", "not a region"},
		{Endpoint{Region: "cn-beijing"}, "endpoint.region", "instance_id"},
		{Endpoint{Region: "cn-shenzhen"}, "endpoint.region", "instance_id"},
		{Endpoint{InstanceID: "0123abc"}, "endpoint.instance_id", `"iot-"`},
		{Endpoint{InstanceID: "iot-"}, "endpoint.instance_id", `"iot-"`},
		{Endpoint{InstanceID: "iot-a.b"}, "endpoint.instance_id", `"iot-"`},
		{Endpoint{InstanceID: "iot-" + strings.Repeat("a", 60)}, "endpoint.instance_id", "63"},
		{Endpoint{Port: -1}, "endpoint.port", "1 to 65535"},
		{Endpoint{Host: "h", Port: 65536}, "endpoint.port", "1 to 65535"},
		{Endpoint{Host: "mqtts://h"}, "endpoint.host", "scheme"},
		{Endpoint{Host: "h/mqtt"}, "endpoint.host", "path"},
		{Endpoint{Host: "h:8883"}, "endpoint.host", "endpoint.port"},
		{Endpoint{Host: "[::1]"}, "endpoint.host", "brackets"},
		{Endpoint{Host: "a b"}, "endpoint.host", "not a host name"},
		{Endpoint{Host: "fe80::1%a/b"}, "endpoint.host", "zone"},
		{Endpoint{Host: "a..b"}, "endpoint.host", "not a host name"},
		{Endpoint{Host: "."}, "endpoint.host", "not a host name"},
		{Endpoint{Host: "-a"}, "endpoint.host", "not a host name"},
		{Endpoint{Host: "h\n"}, "endpoint.host", "not a host name"},
		{Endpoint{Host: "bücher.example"}, "endpoint.host", "not a host name"},
		{Endpoint{Host: strings.Repeat("a", 64)}, "endpoint.host", "63"},
		{Endpoint{Host: strings.Repeat("a.", 127)}, "endpoint.host", "253"},
	} {
		host, port, err := c.e.Resolve("pk")
		if host != "" || port != 0 || wrongField(t, err) != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v resolves to %q, %d, %v", c.e, host, port, err)
		}
	}
}

func TestRegistrationURLs(t *testing.T) {
	for got, want := range map[string]string{
		RegistrationURL(""):                          "https://iot-auth.cn-shanghai.aliyuncs.com/auth/register/device",
		RegistrationURL("us-west-1"):                 "https://iot-auth.us-west-1.aliyuncs.com/auth/register/device",
		CustomRegistrationURL("auth.example.com", 0): "https://auth.example.com:443/auth/register/device",
		CustomRegistrationURL("localhost", 8443):     "https://localhost:8443/auth/register/device",
		CustomRegistrationURL("::1", 8443):           "https://[::1]:8443/auth/register/device",
		CustomRegistrationURL("fe80::1%eth0", 8443):  "https://[fe80::1%25eth0]:8443/auth/register/device",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
