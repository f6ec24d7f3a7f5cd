package platform

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

var secret001 = device.NewSecret("0123456789abcdef0123456789abcdef")

func TestASecretLoginSaysWhatItsOptionsSay(t *testing.T) {
	for _, c := range []struct {
		name string
		o    LoginOptions
		want string
	}{
		{
			"nothing asked for",
			LoginOptions{},
			"a1B2c3D4e5F&dev-001|securemode=2,signmethod=hmacsha256,ext=1,_ss=1,lan=Go|",
		},
		{
			"plain TCP",
			LoginOptions{PlainTCP: true, SignMethod: HMACMD5},
			"a1B2c3D4e5F&dev-001|securemode=3,signmethod=hmacmd5,ext=1,_ss=1,lan=Go|",
		},
		{
			"everything",
			LoginOptions{SignMethod: HMACSHA1, Timestamp: "1700000000", InterfaceInfo: "WiFi|03ACDEFF0032", Version: "1.0.0"},
			"a1B2c3D4e5F&dev-001|securemode=2,signmethod=hmacsha1,ext=1,_ss=1,lan=Go,_v=1.0.0,sii=WiFi|03ACDEFF0032,timestamp=1700000000|",
		},
	} {
		login := SecretLogin(dev001, secret001, c.o)
		if login.ClientID != c.want || login.Username != "dev-001&a1B2c3D4e5F" {
			t.Errorf("%s: client id %q, user name %q", c.name, login.ClientID, login.Username)
		}
		parsed, err := ParseClientID(login.ClientID)
		if err != nil {
			t.Fatal(err)
		}
		content := LoginContent(parsed.Base, dev001, c.o.Timestamp)
		if !c.o.SignMethod.orDefault().Verify(secret001, content, login.Password.Reveal()) {
			t.Errorf("%s: the password does not verify", c.name)
		}
	}
}

func TestASecretLoginIsSignedLikeThePythonSDKs(t *testing.T) {
	python := vectors[connect](t, "connects.json")[1] // the one with everything in it
	ours := SecretLogin(dev001, secret001, LoginOptions{SignMethod: HMACSHA1, Timestamp: "1700000000", InterfaceInfo: "WiFi|03ACDEFF0032", Version: "1.2.13"})
	if ours.Password.Reveal() != python.Password || ours.Username != python.Username {
		t.Errorf("password %q, user name %q", ours.Password.Reveal(), ours.Username)
	}
	if want := strings.Replace(python.ClientID, "lan=Python", "lan=Go", 1); ours.ClientID != want {
		t.Errorf("client id %q, want %q", ours.ClientID, want)
	}
}

func TestATokenLoginSendsTheTokenAsItIs(t *testing.T) {
	token := device.NewSecret("^1^1700000000000^0123456789abcde")
	login := TokenLogin(dev001, "AbCdEfGhIjKlMnOpQrSt000100", token, LoginOptions{Timestamp: "1", SignMethod: HMACMD5, InterfaceInfo: "Eth|03ACDEFF0032", Version: "1.0.0"})
	const want = "AbCdEfGhIjKlMnOpQrSt000100|authType=connwl,securemode=-2,_ss=1,ext=3,lan=Go,_v=1.0.0,sii=Eth|03ACDEFF0032|"
	if login.ClientID != want || login.Username != "dev-001&a1B2c3D4e5F" || !login.Password.Equal(token) {
		t.Errorf("client id %q, user name %q", login.ClientID, login.Username)
	}
}

func TestTheBaseOfAClientIDFitsForTheLongestName(t *testing.T) {
	for _, length := range []int{1, 52, 53, 64} { // with 11 of the product key and the "&": 64 at most up to 52
		id := device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: strings.Repeat("x", length)}
		if err := id.Validate(); err != nil {
			t.Fatal(err)
		}
		logins := []Login{SecretLogin(id, secret001, LoginOptions{}), Registration{ID: id, Method: PreRegistered, Random: "r"}.Login()}
		for _, login := range logins {
			c, err := ParseClientID(login.ClientID)
			if err != nil || len(c.Base) > MaxClientIDBase || strings.Contains(c.Base, "a1B2c3D4e5F") != (length <= 52) {
				t.Errorf("%d characters: base %q, %v", length, c.Base, err)
			}
		}
	}
}

func TestALoginDoesNotPrintItsPassword(t *testing.T) {
	login := SecretLogin(dev001, secret001, LoginOptions{})
	if seen := fmt.Sprintf("%v %+v %#v", login, login, login); strings.Contains(seen, login.Password.Reveal()) || strings.Contains(seen, secret001.Reveal()) {
		t.Errorf("printed %s", seen)
	}
}
