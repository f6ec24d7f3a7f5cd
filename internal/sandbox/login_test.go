package sandbox

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// vector is a CONNECT of one of the vendor's SDKs.
type vector struct {
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
	Username string `json:"username"`
	Password string `json:"password"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("../platform/testdata/connects.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil || len(all) == 0 {
		t.Fatalf("%d vectors, %v", len(all), err)
	}
	return all
}

func TestEverySDKLogsIn(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			s := start(t)
			c := s.secure()
			if code := c.connect(credentials{v.ClientID, v.Username, v.Password}); code != 0 {
				t.Fatalf("CONNACK %d: %s", code, s.logins(dev001)[0].GetReason())
			}
			if strings.Contains(v.ClientID, "authType=register") {
				c.wantMessage("/ext/register", `{"deviceName":"dev-001","deviceSecret":"`+deviceSecret+`","productKey":"a1B2c3D4e5F"}`, 0)
				return
			}
			c.ping()
			d := s.status(dev001)
			if !d.GetOnline() || !d.GetActivated() || d.GetLogins() != 1 || d.GetConnectionId() != 1 || d.GetLastConnectTime() == nil {
				t.Errorf("the device is %v", d)
			}
			if l := s.logins(dev001); len(l) != 1 || l[0].GetClientId() != v.ClientID || !l[0].GetTls() || l[0].GetTlsServerName() != "localhost" ||
				l[0].ConnackCode == nil || l[0].GetConnackCode() != 0 || strings.Contains(l[0].GetReason(), "doubtful") {
				t.Errorf("the logins are %v", l)
			}
		})
	}
}

func TestChecksALoginInThePlatformsOrder(t *testing.T) {
	good := secretLogin(dev001, deviceSecret)
	with := func(change func(*credentials)) credentials {
		c := good
		change(&c)
		return c
	}
	clientID := func(id string) credentials { return with(func(c *credentials) { c.clientID = id }) }
	username := func(name string) credentials { return with(func(c *credentials) { c.username = name }) }
	password := func(word string) credentials { return with(func(c *credentials) { c.password = word }) }
	long := strings.Repeat("x", platform.MaxClientIDBase+1)

	for _, c := range []struct {
		name   string
		who    credentials
		change func(*connectOptions)
		code   byte
		reason string // a part of it
	}{
		{name: "right", who: good, code: 0},
		{name: "MQTT 3.1", who: good, change: func(o *connectOptions) { o.protocol, o.level = "MQIsdp", 3 }, code: 0},
		{name: "MQTT 5", who: good, change: func(o *connectOptions) { o.level = 5 }, code: 1, reason: "level 5"},
		{name: "MQTT 3.1 under the name of 3.1.1", who: good, change: func(o *connectOptions) { o.level = 3 }, code: 1},
		{name: "a bridge", who: good, change: func(o *connectOptions) { o.level = 4 | 0x80 }, code: 1},
		{name: "no parameters", who: clientID("client"), code: 2, reason: `no "|"`},
		{name: "no securemode", who: clientID("client|signmethod=hmacsha1|"), code: 2, reason: "securemode"},
		{name: "an unknown securemode", who: clientID("client|securemode=7|"), code: 2, reason: "securemode=7"},
		{name: "an unknown signmethod", who: clientID("client|securemode=3,signmethod=rot13|"), code: 2, reason: "rot13"},
		{name: "an unknown authType", who: clientID("client|securemode=3,authType=id2|"), code: 2, reason: "id2"},
		{name: "a long base", who: clientID(long + "|securemode=3|"), code: 2, reason: "65 bytes"},
		{name: "a longest base, wrongly signed", who: clientID(long[1:] + "|securemode=3|"), code: 4, reason: "signature"},
		{name: "no user name", who: username(""), code: 4, reason: "DEVICE_NAME&PRODUCT_KEY"},
		{name: "no product in the user name", who: username("dev-001"), code: 4},
		{name: "a user name that names no device", who: username("dev 001&a1B2c3D4e5F"), code: 4},
		{name: "keep alive 29", who: good, change: keepAlive(29), code: 2, reason: "29 s"},
		{name: "keep alive 30", who: good, change: keepAlive(30), code: 0},
		{name: "keep alive 1200", who: good, change: keepAlive(1200), code: 0},
		{name: "keep alive 1201", who: good, change: keepAlive(1201), code: 2, reason: "1201 s"},
		{name: "keep alive 0", who: good, change: keepAlive(0), code: 2},
		{name: "keep alive before the signature", who: password("00"), change: keepAlive(0), code: 2},
		{name: "an unknown product", who: username("dev-001&a1Unknown00"), code: 4, reason: "no product"},
		{name: "an unknown device", who: username("dev-009&a1B2c3D4e5F"), code: 4, reason: "no device"},
		{name: "a device without a secret", who: username("dev-002&a1B2c3D4e5F"), code: 4, reason: "no secret yet"},
		{name: "a wrong secret", who: secretLogin(dev001, "another"), code: 4, reason: "signature"},
		{name: "no password", who: good, change: func(o *connectOptions) { o.flags &^= flagPassword }, code: 4},
		{name: "a password that is no hexadecimal", who: password("zz"), code: 4},
		{name: "a device token that was never given", who: clientID("x|securemode=-2,authType=connwl|"), code: 4, reason: "token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			device := s.plain()
			if c.change == nil {
				c.change = func(*connectOptions) {}
			}
			code := device.connect(c.who, c.change)
			all, err := s.ListLogins(t.Context(), &sandboxv1.ListLoginsRequest{})
			if err != nil || len(all.GetLogins()) != 1 {
				t.Fatalf("%v, %v", all, err)
			}
			l := all.GetLogins()[0]
			if code != c.code || uint32(code) != l.GetConnackCode() || l.ConnackCode == nil {
				t.Fatalf("CONNACK %d, recorded %v, want %d", code, l, c.code)
			}
			if !strings.Contains(l.GetReason(), c.reason) || l.GetReason() == "" {
				t.Errorf("the reason is %q, without %q", l.GetReason(), c.reason)
			}
			if online := s.status(dev001).GetOnline(); online != (c.code == 0) {
				t.Errorf("online: %t", online)
			}
			if c.code == 0 {
				device.ping()
			} else {
				device.wantEOF()
			}
		})
	}
}

func TestALoginWithoutASignMethodIsSignedByMD5(t *testing.T) {
	s := start(t)
	signature := platform.HMACMD5.Sign(device.NewSecret(deviceSecret), platform.LoginContent("client", dev001, ""))
	if code := s.plain().connect(credentials{"client|securemode=3|", "dev-001&a1B2c3D4e5F", signature}); code != 0 {
		t.Errorf("CONNACK %d", code)
	}
}

func TestASecureModeThatDoesNotFit(t *testing.T) {
	overTLS := fromLogin(platform.SecretLogin(dev001, device.NewSecret(deviceSecret), platform.LoginOptions{}))
	t.Run("is taken", func(t *testing.T) {
		s := start(t)
		if code := s.plain().connect(overTLS); code != 0 {
			t.Errorf("CONNACK %d", code)
		}
		if reason := s.logins(dev001)[0].GetReason(); !strings.Contains(reason, "doubtful: securemode=2") {
			t.Errorf("the doubt is not told: %q", reason)
		}
	})
	t.Run("is refused by a strict sandbox", func(t *testing.T) {
		s := start(t, func(o *Options) { o.Strict = true })
		if code := s.plain().connect(overTLS); code != 4 {
			t.Errorf("CONNACK %d", code)
		}
		if code := s.secure().connect(secretLogin(dev001, deviceSecret)); code != 4 {
			t.Errorf("securemode=3 over TLS: CONNACK %d", code)
		}
		if code := s.secure().connect(overTLS); code != 0 {
			t.Errorf("the right way: CONNACK %d", code)
		}
	})
}

func TestPlainTCPMayBeRefused(t *testing.T) {
	s := start(t, func(o *Options) { o.RefusePlainTCP = true })
	if code := s.plain().connect(secretLogin(dev001, "wrong")); code != 4 {
		t.Errorf("a wrong signature counts before: CONNACK %d", code)
	}
	if code := s.plain().connect(secretLogin(dev001, deviceSecret)); code != 5 {
		t.Errorf("CONNACK %d", code)
	}
	if s.status(dev001).GetActivated() {
		t.Error("a refused login activated the device")
	}
	if code := s.secure().connect(secretLogin(dev001, deviceSecret)); code != 0 {
		t.Errorf("over TLS: CONNACK %d", code)
	}
}

func TestAWillIsNotAnswered(t *testing.T) {
	s := start(t)
	c := s.plain()
	c.write(connectPacket(secretLogin(dev001, deviceSecret), func(o *connectOptions) { o.will = true }))
	c.wantEOF()
	if l := s.logins(dev001); len(l) != 1 || l[0].ConnackCode != nil || !strings.Contains(l[0].GetReason(), "will") {
		t.Errorf("the logins are %v", l)
	}
}
