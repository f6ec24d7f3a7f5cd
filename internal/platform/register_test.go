package platform

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

var productSecret = device.NewSecret("PsSecret01234567")

func registration(method RegistrationMethod, e Endpoint) Registration {
	return Registration{ID: dev001, Method: method, ProductSecret: productSecret, Endpoint: e, Random: "8Ygb7ULYh53B6OA"}
}

func TestARegistrationIsThatOfThePythonSDK(t *testing.T) {
	for _, v := range vectors[connect](t, "connects.json") {
		if !strings.Contains(v.ClientID, "authType") {
			continue
		}
		login := registration(PreRegistered, Endpoint{}).Login()
		if login.ClientID != v.ClientID || login.Username != v.Username || login.Password.Reveal() != v.Password {
			t.Errorf("%q, %q, %q", login.ClientID, login.Username, login.Password.Reveal())
		}
		return
	}
	t.Error("no vector is a registration")
}

func TestARegistrationNamesItsWayAndItsInstance(t *testing.T) {
	const start = "dev-001.a1B2c3D4e5F|random=8Ygb7ULYh53B6OA,"
	for _, c := range []struct {
		method RegistrationMethod
		e      Endpoint
		want   string
	}{
		{PreRegistered, Endpoint{Region: "us-west-1"}, "authType=register,securemode=2,signmethod=hmacsha256|"},
		{PreRegistered, Endpoint{Host: "localhost"}, "authType=register,securemode=2,signmethod=hmacsha256|"},
		{PreRegistered, Endpoint{InstanceID: "iot-1"}, "authType=register,securemode=-2,signmethod=hmacsha256,instanceId=iot-1|"},
		{RegistrationFree, Endpoint{}, "authType=regnwl,securemode=2,signmethod=hmacsha256|"},
		{RegistrationFree, Endpoint{InstanceID: "iot-1"}, "authType=regnwl,securemode=-2,signmethod=hmacsha256,instanceId=iot-1|"},
	} {
		if login := registration(c.method, c.e).Login(); login.ClientID != start+c.want {
			t.Errorf("%s at %+v: %q", c.method, c.e, login.ClientID)
		}
	}
}

func TestTheFormOfALegacyRegistration(t *testing.T) {
	r := registration(HTTPSLegacy, Endpoint{})
	r.SignMethod, r.Random = HMACSHA1, "567345"
	want := url.Values{
		"productKey": {"a1B2c3D4e5F"}, "deviceName": {"dev-001"}, "random": {"567345"},
		"sign": {"353cc16eb4c2425ff6e95a9f5897bbfa3eb370e3"}, "signMethod": {"hmacsha1"},
	}
	if diff := cmp.Diff(want, r.Form()); diff != "" {
		t.Error(diff)
	}
}

func TestRegistrationsThatThePlatformOffers(t *testing.T) {
	for _, r := range []Registration{
		registration(PreRegistered, Endpoint{}),
		registration(PreRegistered, Endpoint{Region: "eu-central-1"}),
		registration(PreRegistered, Endpoint{InstanceID: "iot-1"}),
		registration(RegistrationFree, Endpoint{}),
		registration(RegistrationFree, Endpoint{Region: "cn-shanghai", Port: 1883}),
		registration(RegistrationFree, Endpoint{InstanceID: "iot-1"}),
		registration(RegistrationFree, Endpoint{Host: "localhost"}),
		registration(HTTPSLegacy, Endpoint{}),
		registration(HTTPSLegacy, Endpoint{Port: 443}),
		registration(HTTPSLegacy, Endpoint{Host: "localhost", Port: 8443}),
	} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s at %+v: %v", r.Method, r.Endpoint, err)
		}
	}
}

func TestRegistrationsThatThePlatformRefusesNameTheirField(t *testing.T) {
	with := func(change func(*Registration)) Registration {
		r := registration(PreRegistered, Endpoint{})
		change(&r)
		return r
	}
	for _, c := range []struct {
		r           Registration
		field, says string
	}{
		{registration(0, Endpoint{}), "method", "PRE_REGISTERED"},
		{registration(4, Endpoint{}), "method", "PRE_REGISTERED"},
		{with(func(r *Registration) { r.ProductSecret = device.Secret{} }), "product_secret", "missing"},
		{with(func(r *Registration) { r.ProductSecret = device.NewSecret(strings.Repeat("s", 65)) }), "product_secret", "65"},
		{with(func(r *Registration) { r.SignMethod = "none" }), "sign_method", "hmacsha256"},
		{with(func(r *Registration) { r.Endpoint.Region = "mars" }), "endpoint.region", "known are"},
		{registration(RegistrationFree, Endpoint{Region: "us-west-1"}), "endpoint.region", "only in cn-shanghai and cn-beijing, not in us-west-1"},
		{registration(RegistrationFree, Endpoint{Region: "cn-beijing"}), "endpoint.region", "instance_id"}, // it has no public host
		{registration(HTTPSLegacy, Endpoint{Region: "us-west-1"}), "endpoint.region", "only in cn-shanghai, not in us-west-1"},
		{registration(HTTPSLegacy, Endpoint{InstanceID: "iot-1"}), "endpoint.instance_id", "PRE_REGISTERED"},
		{registration(HTTPSLegacy, Endpoint{Port: 8883}), "endpoint.port", "443"},
	} {
		if err := c.r.Validate(); wrongField(t, err) != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s at %+v: %v", c.r.Method, c.r.Endpoint, err)
		}
	}
	if err := with(func(r *Registration) { r.ID.DeviceName = "a|b" }).Validate(); !errors.Is(err, device.ErrInvalidID) {
		t.Errorf("a device that cannot be: %v", err)
	}
}

func TestRegistrationMethodsHaveTheNamesOfTheAPI(t *testing.T) {
	for m, want := range map[RegistrationMethod]string{1: "PRE_REGISTERED", 2: "REGISTRATION_FREE", 3: "HTTPS_LEGACY", 7: "RegistrationMethod(7)"} {
		if m.String() != want {
			t.Errorf("%d is %q, want %q", int(m), m, want)
		}
	}
}
