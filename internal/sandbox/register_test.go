package sandbox

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

func registration(id device.ID, method platform.RegistrationMethod) platform.Registration {
	return platform.Registration{
		ID: id, Method: method, ProductSecret: device.NewSecret(productSecret), Random: "8Ygb7ULYh53B6OA",
		Endpoint: platform.Endpoint{Host: "localhost"},
	}
}

// register says the CONNECT of a registration, and reads the credential that follows the CONNACK as a device does.
func (c *client) register(r platform.Registration) platform.Registered {
	c.t.Helper()
	if code := c.connect(fromLogin(r.Login()), keepAlive(0)); code != 0 {
		c.t.Fatalf("CONNACK %d", code)
	}
	p := c.read()
	m, err := parsePublish(p)
	if err != nil || p.kind != typePublish || m.qos != 0 {
		c.t.Fatalf("got %+v (%v) and not the credential", p, err)
	}
	got, mine, err := platform.ParseRegistrationReply(r, m.topic, m.payload)
	if err != nil || !mine {
		c.t.Fatalf("the reply on %s cannot be used: %v", m.topic, err)
	}
	return got
}

func TestRegistersADeviceThatWasCreatedBeforehand(t *testing.T) {
	s := start(t)
	r := registration(dev002, platform.PreRegistered)
	c := s.secure()
	first := c.register(r)
	if d := s.status(dev002); d.GetOnline() || d.GetActivated() || d.GetDeviceSecret() != first.DeviceSecret.Reveal() {
		t.Errorf("after the registration the device is %v", d)
	}
	c.ping() // the sandbox does not close first
	c.write(disconnect)
	c.wantEOF()

	if again := s.secure().register(r); !again.DeviceSecret.Equal(first.DeviceSecret) {
		t.Error("before it is activated, the device got another secret")
	}
	s.login(dev002, first.DeviceSecret.Reveal())
	if !s.status(dev002).GetActivated() {
		t.Error("the first login did not activate the device")
	}
	if code := s.secure().connect(fromLogin(r.Login())); code != 4 {
		t.Errorf("an activated device registered: CONNACK %d", code)
	}
}

func TestRegistersADeviceThatIsCreatedByIt(t *testing.T) {
	s := start(t)
	id := device.ID{ProductKey: productKey, DeviceName: "new-001"}
	r := registration(id, platform.RegistrationFree)
	given := map[string]bool{}
	var last platform.Registered
	for range maxTokens {
		last = s.secure().register(r)
		given[last.ClientID+last.DeviceToken.Reveal()] = true
	}
	if len(given) != maxTokens {
		t.Errorf("%d different tokens were given", len(given))
	}
	if code := s.secure().connect(fromLogin(r.Login())); code != 4 {
		t.Errorf("a sixth token: CONNACK %d", code)
	}
	for i, plain := range []bool{false, true} { // a token says nothing about TLS
		c := s.secure()
		if plain {
			c = s.plain()
		}
		if code := c.connect(fromLogin(platform.TokenLogin(id, last.ClientID, last.DeviceToken, platform.LoginOptions{}))); code != 0 {
			t.Fatalf("CONNACK %d", code)
		}
		if d := s.status(id); !d.GetOnline() || !d.GetActivated() || d.GetHasSecret() || len(d.GetDeviceTokens()) != maxTokens || d.GetLogins() != uint64(i+1) {
			t.Errorf("the device is %v", d)
		}
	}
	wrong := platform.TokenLogin(id, "AbCdEfGhIjKlMnOpQrSt000100", last.DeviceToken, platform.LoginOptions{})
	if code := s.secure().connect(fromLogin(wrong)); code != 4 {
		t.Errorf("a token with another client id: CONNACK %d", code)
	}
	if d := s.status(dev001); d.GetOnline() {
		t.Error("another device is online")
	}
}

func TestTakesEveryFormOfARegistration(t *testing.T) {
	signed := func(method platform.SignMethod) string {
		return method.Sign(device.NewSecret(productSecret), platform.RegistrationContent(dev002, "567345"))
	}
	for _, authType := range []string{"register", "regnwl"} {
		for _, form := range []struct{ clientID, password string }{
			{"any|securemode=2,authType=%s,random=567345,signmethod=hmacsha256|", signed(platform.HMACSHA256)},
			{"dev-002|securemode=-2,authType=%s,random=567345,signmethod=hmacmd5|", signed(platform.HMACMD5)},
			{"|securemode=-2,authType=%s,random=567345,signmethod=hmacsha1,instanceId=iot-060a00|", signed(platform.HMACSHA1)},
			{"dev-002.a1B2c3D4e5F|random=567345,authType=%s,securemode=2,signmethod=hmacsha256,instanceId=iot-060a00|", strings.ToUpper(signed(platform.HMACSHA256))},
		} {
			s := start(t)
			c := s.secure()
			clientID := fmt.Sprintf(form.clientID, authType)
			if code := c.connect(credentials{clientID, "dev-002&a1B2c3D4e5F", form.password}, keepAlive(7)); code != 0 {
				t.Errorf("%s: CONNACK %d", clientID, code)
				continue
			}
			if m, err := parsePublish(c.read()); err != nil || m.topic != "/ext/"+authType {
				t.Errorf("%s: %+v, %v", clientID, m, err)
			}
		}
	}
}

func TestRefusesARegistration(t *testing.T) {
	wrong := registration(dev002, platform.PreRegistered)
	wrong.ProductSecret = device.NewSecret("another")
	absent := device.ID{ProductKey: productKey, DeviceName: "dev-009"}
	for _, c := range []struct {
		name   string
		who    credentials
		plain  bool
		code   byte
		reason string
	}{
		{name: "over plain TCP", who: fromLogin(registration(dev002, platform.PreRegistered).Login()), plain: true, code: 2, reason: "TLS"},
		{name: "without the random", who: credentials{"x|securemode=2,authType=register,signmethod=hmacsha1|", "dev-002&a1B2c3D4e5F", "00"}, code: 2, reason: "random"},
		{name: "with a login's securemode", who: credentials{"x|securemode=3,authType=register,random=1|", "dev-002&a1B2c3D4e5F", "00"}, code: 2, reason: "securemode=3"},
		{name: "of an unknown product", who: fromLogin(registration(device.ID{ProductKey: "a1Unknown00", DeviceName: "x"}, platform.RegistrationFree).Login()), code: 4, reason: "no such product"},
		{name: "switched off", who: fromLogin(registration(off001, platform.PreRegistered).Login()), code: 4, reason: "switched off"},
		{name: "with a wrong product secret", who: fromLogin(wrong.Login()), code: 4, reason: "signature"},
		{name: "not created beforehand", who: fromLogin(registration(absent, platform.PreRegistered).Login()), code: 4, reason: "beforehand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			device := s.secure
			if c.plain {
				device = s.plain
			}
			d := device()
			if code := d.connect(c.who); code != c.code {
				t.Errorf("CONNACK %d, want %d", code, c.code)
			}
			d.wantEOF()
			all, _ := s.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{})
			if got := all.GetLogins()[0].GetReason(); !strings.Contains(got, c.reason) {
				t.Errorf("the reason is %q, without %q", got, c.reason)
			}
			if s.status(absent) != nil || s.status(dev002).GetHasSecret() {
				t.Error("a refused registration left something behind")
			}
		})
	}
}

func TestADisabledDeviceDoesNotRegister(t *testing.T) {
	s := start(t)
	if _, err := s.DisableDevice(t.Context(), &sandboxv1.DisableDeviceRequest{Device: toDevice(dev002)}); err != nil {
		t.Fatal(err)
	}
	if code := s.secure().connect(fromLogin(registration(dev002, platform.PreRegistered).Login())); code != 5 {
		t.Errorf("CONNACK %d", code)
	}
}

func TestADeviceThatLingersAfterItsRegistrationIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := openAuthority(stateDir)
		if err != nil {
			t.Fatal(err)
		}
		p := newTestCloud(t).pipe(t.Context(), t, door{tls: ca.tlsConfig(), tlsOnly: true})
		// Certificates and virtual time do not go together.
		p.conn = tls.Client(p.conn, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		p.in = bufio.NewReader(p.conn)
		began := time.Now()
		p.register(registration(dev002, platform.PreRegistered))
		for range 2 {
			time.Sleep(5 * time.Second)
			p.ping() // does not lengthen it
		}
		p.wantEOF()
		if after := time.Since(began); after != platform.RegistrationWindow {
			t.Errorf("the connection was closed after %v", after)
		}
	})
}

func TestADeviceThatRegistersDoesNothingElse(t *testing.T) {
	s := start(t)
	c := s.secure()
	c.register(registration(dev002, platform.PreRegistered))
	if codes := c.subscribe("/a1B2c3D4e5F/dev-002/user/get"); codes[0] != subscriptionRefused {
		t.Errorf("it may subscribe: %v", codes)
	}
	c.write(appendPublish(nil, message{topic: topicOf(dev002, "user/update"), qos: 1, id: 9}))
	c.wantPacket(ack(typePuback, 9)...)
	if n := len(s.messages(dev002)); n != 0 {
		t.Errorf("%d messages were kept", n)
	}
}

// post registers over HTTPS, and returns the platform's code, its words and the secret.
func (s sandbox) post(form url.Values) (code int, words string, secret string) {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.trust("iot-auth.cn-shanghai.aliyuncs.com"), DisableKeepAlives: true}}
	response, err := client.PostForm("https://"+s.Addresses().HTTPS+registrationPath, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v", response.Status, body, err)
	}
	var reply struct {
		Code    int
		Message string
		Data    struct{ ProductKey, DeviceName, DeviceSecret string }
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		s.t.Fatal(err)
	}
	if reply.Code == 200 && (reply.Data.ProductKey != form.Get("productKey") || reply.Data.DeviceName != form.Get("deviceName")) {
		s.t.Errorf("the reply is for another device: %s", body)
	}
	return reply.Code, reply.Message, reply.Data.DeviceSecret
}

func TestRegistersOverHTTPS(t *testing.T) {
	s := start(t)
	form := registration(dev002, platform.HTTPSLegacy).Form()
	code, words, secret := s.post(form)
	if code != 200 || words != "success" || secret != s.status(dev002).GetDeviceSecret() || len(secret) != 32 {
		t.Fatalf("%d %q", code, words)
	}
	form.Set("signMethod", "HmacSHA256") // as some documentation spells it
	if code, _, again := s.post(form); code != 200 || again != secret {
		t.Errorf("the second time: %d, the same secret: %t", code, again == secret)
	}
	s.login(dev002, secret)
	if code, _, _ := s.post(form); code != 6289 {
		t.Errorf("after activation: %d", code)
	}
}

func TestRefusesOverHTTPS(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name   string
		id     device.ID
		change func(url.Values)
		code   int
	}{
		{"no device name", dev002, func(f url.Values) { f.Del("deviceName") }, 460},
		{"a device name that is none", dev002, func(f url.Values) { f.Set("deviceName", "a|b") }, 460},
		{"no random", dev002, func(f url.Values) { f.Del("random") }, 460},
		{"no sign", dev002, func(f url.Values) { f.Del("sign") }, 460},
		{"no sign method", dev002, func(f url.Values) { f.Del("signMethod") }, 460},
		{"an unknown sign method", dev002, func(f url.Values) { f.Set("signMethod", "rot13") }, 6292},
		{"an unknown product", device.ID{ProductKey: "a1Unknown00", DeviceName: "x"}, func(url.Values) {}, 6250},
		{"switched off", off001, func(url.Values) {}, 6288},
		{"a wrong signature", dev002, func(f url.Values) { f.Set("random", "other") }, 6600},
		{"not created beforehand", device.ID{ProductKey: productKey, DeviceName: "dev-009"}, func(url.Values) {}, 6100},
	} {
		form := registration(c.id, platform.HTTPSLegacy).Form()
		c.change(form)
		if code, words, secret := s.post(form); code != c.code || words == "" || secret != "" {
			t.Errorf("%s: code %d %q, want %d", c.name, code, words, c.code)
		}
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.trust("localhost"), DisableKeepAlives: true}}
	response, err := client.Get("https://" + s.Addresses().HTTPS + registrationPath)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", response.Status)
	}
}
