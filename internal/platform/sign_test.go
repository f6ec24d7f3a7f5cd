package platform

import (
	"strings"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

type signVector struct {
	Name, Key, Content            string
	HMACMD5, HMACSHA1, HMACSHA256 string
}

func TestSignaturesAreThoseOfTheVectors(t *testing.T) {
	for _, v := range vectors[signVector](t, "sign.json") {
		key := device.NewSecret(v.Key)
		for method, want := range map[SignMethod]string{HMACMD5: v.HMACMD5, HMACSHA1: v.HMACSHA1, HMACSHA256: v.HMACSHA256} {
			if want == "" {
				continue // the pre-shared key has one method only
			}
			if got := method.Sign(key, v.Content); got != want {
				t.Errorf("%s: %s signs %s, want %s", v.Name, method, got, want)
			}
			if !method.Verify(key, v.Content, want) || !method.Verify(key, v.Content, strings.ToUpper(want)) {
				t.Errorf("%s: %s does not verify its own signature in both cases", v.Name, method)
			}
		}
	}
}

func TestOnlyTheRightSignatureVerifies(t *testing.T) {
	key, content := device.NewSecret("secret"), "content"
	right := HMACSHA256.Sign(key, content)
	for name, wrong := range map[string]bool{
		"empty":           HMACSHA256.Verify(key, content, ""),
		"cut":             HMACSHA256.Verify(key, content, right[:62]),
		"odd":             HMACSHA256.Verify(key, content, right[:63]),
		"not hexadecimal": HMACSHA256.Verify(key, content, "x"+right[1:]),
		"longer":          HMACSHA256.Verify(key, content, right+"00"),
		"other content":   HMACSHA256.Verify(key, "contents", right),
		"other key":       HMACSHA256.Verify(device.NewSecret("Secret"), content, right),
		"other method":    HMACSHA1.Verify(key, content, right),
		"no method":       SignMethod("").Verify(key, content, right),
		"unknown method":  SignMethod("none").Verify(key, content, ""),
	} {
		if wrong {
			t.Errorf("a signature verifies that is wrong: %s", name)
		}
	}
	if got := SignMethod("none").Sign(key, content); got != "" {
		t.Errorf("an unknown method signs %q", got)
	}
}

func TestContentsGlueKeysAndValues(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{LoginContent("client01", dev001, "1700000000000"), "clientIdclient01deviceNamedev-001productKeya1B2c3D4e5Ftimestamp1700000000000"},
		{LoginContent("client01", dev001, ""), "clientIdclient01deviceNamedev-001productKeya1B2c3D4e5F"},
		{LoginContent("", dev001, "2524608000000"), "clientIddeviceNamedev-001productKeya1B2c3D4e5Ftimestamp2524608000000"},
		{RegistrationContent(dev001, "567345"), "deviceNamedev-001productKeya1B2c3D4e5Frandom567345"},
	} {
		if c.got != c.want {
			t.Errorf("content %q, want %q", c.got, c.want)
		}
	}
}

func TestSignMethodsParseInAnyCase(t *testing.T) {
	for s, want := range map[string]SignMethod{"hmacmd5": HMACMD5, "HmacMD5": HMACMD5, "hmacSha1": HMACSHA1, "HMACSHA256": HMACSHA256} {
		if got, err := ParseSignMethod(s); got != want || err != nil {
			t.Errorf("ParseSignMethod(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "sha256", "Sha256", "hmacsha512", " hmacmd5"} {
		if got, err := ParseSignMethod(s); got != "" || wrongField(t, err) != "sign_method" {
			t.Errorf("ParseSignMethod(%q) = %q, %v", s, got, err)
		}
	}
}
