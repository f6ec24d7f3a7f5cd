package platform

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// connect is a CONNECT as an SDK sends it, and what is in it.
type connect struct {
	Name, Secret             string
	Method                   SignMethod
	ClientID                 string `json:"client_id"`
	Username, Password, Base string
	Params                   [][2]string
}

func TestConnectsOfTheSDKsAreUnderstoodAndVerify(t *testing.T) {
	for _, v := range vectors[connect](t, "connects.json") {
		c, err := ParseClientID(v.ClientID)
		if err != nil || c.Base != v.Base {
			t.Errorf("%s: base %q, %v; want %q", v.Name, c.Base, err, v.Base)
			continue
		}
		var params [][2]string
		for _, p := range c.Params {
			params = append(params, [2]string{p.Key, p.Value})
		}
		if !slices.Equal(params, v.Params) {
			t.Errorf("%s: params\n%q, want\n%q", v.Name, params, v.Params)
		}
		id, err := ParseUsername(v.Username)
		if err != nil || id != dev001 {
			t.Errorf("%s: user name is of %v, %v", v.Name, id, err)
		}
		method, err := ParseSignMethod(c.Get("signmethod"))
		if err != nil || method != v.Method {
			t.Errorf("%s: method %q, %v", v.Name, method, err)
		}
		content := LoginContent(c.Base, id, c.Get("timestamp"))
		if c.Has("authType") {
			content = RegistrationContent(id, c.Get("random"))
		}
		if !method.Verify(device.NewSecret(v.Secret), content, v.Password) {
			t.Errorf("%s: the password does not verify", v.Name)
		}
	}
}

func TestOddClientIDsAreReadAsThePlatformReadsThem(t *testing.T) {
	for _, c := range []struct {
		in, base string
		params   []Param
	}{
		{"base|a=1,b=2|", "base", []Param{{"a", "1"}, {"b", "2"}}},
		{"base|a=1,b=2", "base", []Param{{"a", "1"}, {"b", "2"}}},          // no closing "|"
		{"base|a=1|tail", "base", []Param{{"a", "1"}}},                     // ignored behind the last "|"
		{"base|a=x|y|z,b=2|", "base", []Param{{"a", "x|y|z"}, {"b", "2"}}}, // "|" within a value
		{"base|a=x=y|", "base", []Param{{"a", "x=y"}}},                     // "=" within a value
		{"base|,a=1,,junk,b=|", "base", []Param{{"a", "1"}, {"b", ""}}},    // empty items and items that are no pairs
		{"base|=1|", "base", []Param{{"", "1"}}},
		{"base||", "base", nil},
		{"base|", "base", nil},
		{"|", "", nil},
	} {
		got, err := ParseClientID(c.in)
		if err != nil || got.Base != c.base || !slices.Equal(got.Params, c.params) {
			t.Errorf("ParseClientID(%q) = %+v, %v", c.in, got, err)
		}
	}
	for _, s := range []string{"", "base", "base,a=1"} {
		if got, err := ParseClientID(s); err == nil {
			t.Errorf("ParseClientID(%q) = %+v without an error", s, got)
		}
	}
}

func TestTheLastOfTwoEqualParametersCounts(t *testing.T) {
	c, err := ParseClientID("base|a=1,b=,a=2|")
	if err != nil || c.Get("a") != "2" || !c.Has("b") || c.Get("b") != "" || c.Has("c") || c.Get("c") != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAClientIDThatIsWrittenIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ClientID{Base: rapid.StringMatching(`[^|]{0,64}`).Draw(t, "base")}
		for range rapid.IntRange(0, 8).Draw(t, "params") {
			c.Params = append(c.Params, Param{
				Key:   rapid.StringMatching(`[^=,]{0,10}`).Draw(t, "key"),
				Value: rapid.StringMatching(`[^,]{0,20}`).Draw(t, "value"),
			})
		}
		got, err := ParseClientID(c.String())
		if err != nil || got.Base != c.Base || !slices.Equal(got.Params, c.Params) {
			t.Fatalf("%q is read as %+v, %v", c, got, err)
		}
	})
}

func TestUserNamesAreCutAtTheLastAmpersand(t *testing.T) {
	if id, err := ParseUsername("dev-001&a1B2c3D4e5F"); id != dev001 || err != nil {
		t.Errorf("%v, %v", id, err)
	}
	for _, s := range []string{"", "dev-001", "&", "dev-001&", "&a1B2c3D4e5F", "dev&001&a1B2c3D4e5F", "dev|001&a1B2c3D4e5F"} {
		if id, err := ParseUsername(s); !id.IsZero() || !errors.Is(err, device.ErrInvalidID) {
			t.Errorf("ParseUsername(%q) = %v, %v", s, id, err)
		}
	}
}

func FuzzParseClientID(f *testing.F) {
	for _, seed := range []string{"base|a=1,b=2|", "|", "base|sii=WiFi|03ACDEFF0032,timestamp=1|", "base|,=,|x"} {
		f.Add(seed)
	}
	for _, v := range vectors[connect](f, "connects.json") {
		f.Add(v.ClientID)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseClientID(s)
		if (err != nil) == strings.Contains(s, "|") {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		again, err := ParseClientID(c.String())
		if err != nil || again.Base != c.Base || !slices.Equal(again.Params, c.Params) {
			t.Fatalf("%q was read as %+v, and written and read again as %+v, %v", s, c, again, err)
		}
		for _, p := range c.Params {
			if !c.Has(p.Key) || !strings.Contains(s, p.Key+"="+p.Value) {
				t.Fatalf("%q was read as %+v", s, c)
			}
		}
	})
}
