package platform

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	secretReply = `{"productKey":"a1B2c3D4e5F","deviceName":"dev-001","deviceSecret":"0123456789abcdef0123456789abcdef"}`
	tokenReply  = `{"productKey":"a1B2c3D4e5F","deviceName":"dev-001","clientId":"AbCdEfGhIjKlMnOpQrSt000100","deviceToken":"^1^1700000000000^0123456789abcde"}`
)

func TestTheCredentialIsReadFromAReply(t *testing.T) {
	for _, c := range []struct {
		method         RegistrationMethod
		topic, payload string
		want           [3]string // device secret, client id, device token
	}{
		{PreRegistered, "/ext/register", secretReply, [3]string{"0123456789abcdef0123456789abcdef"}},
		{RegistrationFree, "/ext/regnwl", tokenReply, [3]string{"", "AbCdEfGhIjKlMnOpQrSt000100", "^1^1700000000000^0123456789abcde"}},
		{RegistrationFree, "/ext/register", tokenReply, [3]string{"", "AbCdEfGhIjKlMnOpQrSt000100", "^1^1700000000000^0123456789abcde"}},
		{PreRegistered, "/ext/register", " {\"deviceSecret\":\"s\\u0021\",\"deviceName\":\"dev-001\",\"more\":[{}],\"productKey\":\"a1B2c3D4e5F\"}\n", [3]string{"s!"}},
	} {
		got, isReply, err := ParseRegistrationReply(registration(c.method, Endpoint{}), c.topic, []byte(c.payload))
		if seen := [3]string{got.DeviceSecret.Reveal(), got.ClientID, got.DeviceToken.Reveal()}; seen != c.want || !isReply || err != nil {
			t.Errorf("%s on %s: %q, %v, %v", c.method, c.topic, seen, isReply, err)
		}
	}
}

func TestMessagesOnOtherTopicsAreNoReplies(t *testing.T) {
	for _, topic := range []string{"", "/ext/register/x", "/sys/a1B2c3D4e5F/dev-001/thing/service/property/set"} {
		if _, isReply, err := ParseRegistrationReply(registration(PreRegistered, Endpoint{}), topic, []byte(secretReply)); isReply || err != nil {
			t.Errorf("%q: %v, %v", topic, isReply, err)
		}
	}
}

func TestRepliesThatCannotBeUsedSayWhyAndNotWhatTheyHold(t *testing.T) {
	const hidden = "hunter2"
	reply := func(rest string) string { return `{"productKey":"a1B2c3D4e5F","deviceName":"dev-001",` + rest + `}` }
	for _, c := range []struct {
		method        RegistrationMethod
		payload, says string
	}{
		{PreRegistered, "", "not JSON"},
		{PreRegistered, hidden, "not JSON"},
		{PreRegistered, reply(`"deviceSecret":"hunter2"`) + "x", "not JSON"},
		{PreRegistered, reply(`"deviceSecret":"hunter2` + "\xff" + `"`), "not JSON"},
		{PreRegistered, `["hunter2"]`, "not a JSON object"},
		{PreRegistered, `"hunter2"`, "not a JSON object"},
		{PreRegistered, `null`, "not a JSON object"},
		{PreRegistered, reply(`"pad":"` + strings.Repeat(" ", 64<<10) + `","deviceSecret":"hunter2"`), "more than 65536"},
		{PreRegistered, reply(`"deviceSecret":"hunter2","deviceSecret":"hunter2"`), "same key twice"},
		{PreRegistered, reply(`"deviceSecret":"hunter2","deviceNam\u0065":"other"`), "same key twice"},
		{PreRegistered, `{"productKey":"a1B2c3D4e5F","deviceName":"hunter2","deviceSecret":"hunter2"}`, "another device: its deviceName"},
		{PreRegistered, `{"productKey":"A1B2C3D4E5F","deviceName":"dev-001","deviceSecret":"hunter2"}`, "another device: its productKey"},
		{PreRegistered, `{"deviceName":"dev-001","deviceSecret":"hunter2"}`, "productKey is missing"},
		{PreRegistered, reply(`"DeviceSecret":"hunter2"`), "deviceSecret is missing"},
		{PreRegistered, reply(`"deviceSecret":""`), "deviceSecret is missing"},
		{PreRegistered, reply(`"deviceSecret":null`), "deviceSecret is missing"},
		{PreRegistered, reply(`"deviceSecret":["hunter2"]`), "deviceSecret is not a string"},
		{PreRegistered, reply(`"deviceSecret":"hunter2\u0000"`), "control characters"},
		{PreRegistered, reply(`"deviceSecret":"hunter2\u0085"`), "control characters"},
		{PreRegistered, reply(`"deviceSecret":"hunter2\ud800"`), "broken ones"},
		{PreRegistered, reply(`"deviceSecret":"hunter2` + strings.Repeat("x", 58) + `"`), "65 bytes, more than 64"},
		{PreRegistered, tokenReply, "deviceSecret is missing"},
		{RegistrationFree, secretReply, "clientId is missing"},
		{RegistrationFree, reply(`"clientId":"c"`), "deviceToken is missing"},
		{RegistrationFree, reply(`"clientId":"hunter2|","deviceToken":"hunter2"`), `clientId holds a "|"`},
		{RegistrationFree, reply(`"clientId":"` + strings.Repeat("x", 257) + `","deviceToken":"hunter2"`), "257 bytes, more than 256"},
		{RegistrationFree, reply(`"clientId":"c","deviceToken":"hunter2` + strings.Repeat("x", 506) + `"`), "513 bytes, more than 512"},
	} {
		got, isReply, err := ParseRegistrationReply(registration(c.method, Endpoint{}), "/ext/register", []byte(c.payload))
		if err == nil || !isReply || got != (Registered{}) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%.100q: %+v, %v, %v", c.payload, got, isReply, err)
		}
	}
}

func TestTheCredentialIsReadFromAnHTTPSReply(t *testing.T) {
	for _, code := range []string{`200`, `"200"`} {
		body := fmt.Sprintf(`{"code":%s,"data":%s,"message":"success"}`, code, secretReply)
		if got, err := ParseHTTPSRegistrationReply(dev001, 200, []byte(body)); err != nil || got.DeviceSecret.Reveal() != "0123456789abcdef0123456789abcdef" {
			t.Errorf("code %s: %v", code, err)
		}
	}
}

func TestARefusalOverHTTPSHasItsCodeAndAdvice(t *testing.T) {
	for code, says := range map[int]string{
		460: "parameter", 500: "later", 6250: "no such product", 6288: "switched off", 6289: "already activated", 6292: "sign method", 6600: "product's secret", 1234: "not a documented",
	} {
		for _, status := range []int{200, 400} {
			_, err := ParseHTTPSRegistrationReply(dev001, status, fmt.Appendf(nil, `{"code":%d,"message":"no way"}`, code))
			refused, ok := errors.AsType[*RegistrationRefusedError](err)
			if !ok || refused.Code != code || refused.Message != "no way" || (refused.Advice() == "") != (code == 1234) {
				t.Errorf("%d: %v", code, err)
				continue
			}
			for _, part := range []string{fmt.Sprint(code), says, refused.Advice(), `"no way"`} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
		}
	}
	_, err := ParseHTTPSRegistrationReply(dev001, 200, []byte(`{"code":6288}`))
	if refused, ok := errors.AsType[*RegistrationRefusedError](err); !ok || refused.Message != "" || strings.Contains(err.Error(), `""`) {
		t.Errorf("a refusal without words: %v", err)
	}
}

func TestHTTPSRepliesThatCannotBeUsedSayWhyAndNotWhatTheyHold(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, says string
	}{
		{502, "<html>hunter2</html>", "HTTP status 502"},
		{200, `{"data":"hunter2"}`, "code is missing"},
		{200, `{"code":"hunter2"}`, "code is not a number"},
		{200, `{"code":99999999999}`, "code is not a number"},
		{200, `{"code":200,"code":200}`, "same key twice"},
		{201, `{"code":200,"data":` + secretReply + `}`, "HTTP status 201"},
		{200, `{"code":200}`, "data"},
		{200, `{"code":200,"data":"hunter2"}`, "not a JSON object"},
		{200, `{"code":200,"data":{"productKey":"a1B2c3D4e5F","deviceName":"hunter2","deviceSecret":"hunter2"}}`, "another device"},
	} {
		got, err := ParseHTTPSRegistrationReply(dev001, c.status, []byte(c.body))
		if err == nil || got != (Registered{}) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d %s: %+v, %v", c.status, c.body, got, err)
		}
		if _, refused := errors.AsType[*RegistrationRefusedError](err); refused {
			t.Errorf("%d %s: %v is no refusal of the platform", c.status, c.body, err)
		}
	}
}

// usable fails the test unless the credential is whole and within its limits, or there is an error and no credential.
func usable(t *testing.T, got Registered, err error) {
	t.Helper()
	secret, token := got.DeviceSecret.Reveal(), got.DeviceToken.Reveal()
	if err != nil {
		if got != (Registered{}) {
			t.Fatalf("a credential came with the error %v", err)
		}
		return
	}
	if (secret == "") == (token == "") || (token == "") != (got.ClientID == "") {
		t.Fatal("neither one kind of credential nor the other")
	}
	if len(secret) > MaxSecret || len(token) > MaxDeviceToken || len(got.ClientID) > MaxTokenClientID || strings.Contains(got.ClientID, "|") {
		t.Fatal("a credential breaks its limits")
	}
	if all := secret + token + got.ClientID; control(all) || strings.Contains(all, "\uFFFD") || !utf8.ValidString(all) {
		t.Fatalf("a credential is no plain text: %q", all)
	}
}

func FuzzParseRegistrationReply(f *testing.F) {
	for _, seed := range []string{secretReply, tokenReply, `{}`, `{"deviceName":1,"deviceName":2}`, `[[[`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, payload string, free bool) {
		r, topic := registration(PreRegistered, Endpoint{}), topicRegister
		if free {
			r, topic = registration(RegistrationFree, Endpoint{}), topicRegNwl
		}
		got, isReply, err := ParseRegistrationReply(r, topic, []byte(payload))
		if !isReply {
			t.Fatal("not a reply")
		}
		usable(t, got, err)
	})
}

func FuzzParseHTTPSRegistrationReply(f *testing.F) {
	for _, seed := range []string{`{"code":200,"data":` + secretReply + `}`, `{"code":"6288","message":"off"}`, `{"code":1e3}`, `<html>`} {
		f.Add(200, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		got, err := ParseHTTPSRegistrationReply(dev001, status, []byte(body))
		usable(t, got, err)
		if refused, ok := errors.AsType[*RegistrationRefusedError](err); ok && refused.Code == 200 {
			t.Fatal("refused with the code of success")
		}
	})
}
