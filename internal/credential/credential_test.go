package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

func cred(kind Kind, clientID, username, secret string) Credential {
	return Credential{Kind: kind, ClientID: clientID, Username: username, Secret: device.NewSecret(secret)}
}

func TestWhatEachKindConsistsOf(t *testing.T) {
	long := strings.Repeat("hunter2", maxField)
	for _, row := range []struct {
		c    Credential
		want string // "" is valid
	}{
		{cred(DeviceSecret, "", "", "hunter2"), ""},
		{cred(DeviceSecret, "", "", ""), "needs a secret"},
		{cred(DeviceSecret, "id", "", "hunter2"), "has no client id"},
		{cred(DeviceSecret, "", "user", "hunter2"), "has no user name"},
		{cred(DeviceToken, "id", "", "hunter2"), ""},
		{cred(DeviceToken, "", "", "hunter2"), "needs a client id"},
		{cred(DeviceToken, "id", "user", "hunter2"), "has no user name"},
		{cred(MQTT, "id", "user", "hunter2"), ""},
		{cred(MQTT, "", "user", "hunter2"), "needs a client id"},
		{cred(MQTT, "id", "", "hunter2"), "needs a user name"},
		{cred(MQTT, "id", "user", ""), "needs a secret"},
		{cred("", "", "", "hunter2"), "kind"},
		{cred("hunter2", "", "", "hunter2"), "kind"},
		{cred(DeviceSecret, "", "", long), "MQTT carries 65535"},
		{cred(MQTT, long, "user", "hunter2"), "MQTT carries 65535"},
		{cred(DeviceSecret, "", "", "hunter2\xff"), "not UTF-8"},
		{cred(MQTT, "id", "hunter2\xff", "x"), "not UTF-8"},
		{Credential{Kind: DeviceSecret, Secret: device.NewSecret("x"), Source: "hunter2\xff"}, "source"},
		{Credential{Kind: DeviceSecret, Secret: device.NewSecret("x"), StoredAt: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)}, "year"},
	} {
		err := row.c.Validate()
		if (err == nil) != (row.want == "") || err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("a %.20q: %v, want %q", row.c.Kind, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error quotes a part: %.200v", err)
		}
	}
}

func TestFingerprintsTellCredentialsApart(t *testing.T) {
	all := []Credential{
		cred(DeviceSecret, "", "", "ab"), cred(DeviceSecret, "", "", "a"), cred(DeviceSecret, "", "", ""),
		cred(MQTT, "a", "b", "c"), cred(MQTT, "ab", "", "c"), cred(MQTT, "", "ab", "c"), cred(MQTT, "", "a", "bc"),
		cred(DeviceToken, "a", "b", "c"),
	}
	seen := map[string]Credential{}
	for _, c := range all {
		f := c.Fingerprint()
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(f) {
			t.Errorf("the fingerprint is %q", f)
		}
		if other, taken := seen[f]; taken {
			t.Errorf("%+v and %+v have the same", c, other)
		}
		seen[f] = c
		for _, other := range all {
			if c.Same(other) != (f == other.Fingerprint()) {
				t.Errorf("Same and Fingerprint disagree about %+v and %+v", c, other)
			}
		}
	}
	elsewhere := all[0]
	elsewhere.Source, elsewhere.StoredAt = "register", time.Now()
	if !elsewhere.Same(all[0]) || elsewhere.Fingerprint() != all[0].Fingerprint() {
		t.Error("where it came from makes a difference")
	}
	// Written in every file: it must never change for what is stored already.
	if got, want := secret("hunter2").Fingerprint(), "34f1564172bce15e"; got != want {
		t.Errorf("the fingerprint of a known credential is %s, was %s", got, want)
	}
}

func TestACredentialIsNeverSeen(t *testing.T) {
	c := secret("hunter2")
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, seen := range []string{fmt.Sprintf("%v %+v %#v", c, c, &c), string(text)} {
		if strings.Contains(seen, "hunter2") {
			t.Errorf("printed %s", seen)
		}
	}
}
