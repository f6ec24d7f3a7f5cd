package platform

import (
	"strings"
	"testing"
)

func TestEveryRefusalHasAMeaningAndAdvice(t *testing.T) {
	for _, registering := range []bool{false, true} {
		for code := range 256 {
			m := Connack(byte(code), registering)
			if int(m.Code) != code || m.Name == "" || m.Meaning == "" || (m.Advice == "") != (code == 0) {
				t.Errorf("code %d, registering %v: %+v", code, registering, m)
			}
			if strings.HasSuffix(m.Meaning, ".") || strings.HasSuffix(m.Advice, ".") {
				t.Errorf("code %d: %+v is a sentence; it must be a clause", code, m)
			}
		}
	}
}

func TestCodesMeanOtherThingsWhenRegistering(t *testing.T) {
	for _, c := range []struct {
		code                byte
		login, registration string
	}{
		{2, "keep alive", "plain TCP"},
		{3, "5 times a minute", "nothing was registered"},
		{4, "signature or token", "already activated"},
		{5, "disabled", "does not let"},
	} {
		if login, registration := Connack(c.code, false), Connack(c.code, true); !strings.Contains(login.Meaning, c.login) || !strings.Contains(registration.Meaning, c.registration) {
			t.Errorf("code %d: %q and %q", c.code, login.Meaning, registration.Meaning)
		}
	}
}
