package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

const documented = `products:
  - product_key: a1B2c3D4e5F
    product_secret: PsSecret01234567
    dynamic_registration: true
    devices:
      - device_name: dev-001
        device_secret: 0123456789abcdef0123456789abcdef
      - device_name: dev-002        # no secret yet: it is made when it registers
`

func TestReadsAFixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fixture.yaml")
	if err := os.WriteFile(path, []byte(documented), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFixture(path)
	if err != nil {
		t.Fatal(err)
	}
	want := fixture()
	want.Products = want.Products[:1]
	secrets := cmp.Comparer(device.Secret.Equal)
	if diff := cmp.Diff(want, got, secrets); diff != "" {
		t.Error(diff)
	}
	if s := start(t, func(o *Options) { o.FixtureFile = path }); s.status(dev001) == nil || s.status(dev002) == nil || s.status(off001) != nil {
		t.Error("the sandbox has other devices")
	}
}

func TestASecretOfDigitsNeedsNoQuotes(t *testing.T) {
	got, err := ParseFixture("f", []byte("products: [{product_key: 123, product_secret: 0123, devices: [{device_name: 0x10, device_secret: 1e3, disabled: true}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	p := got.Products[0]
	if p.ProductKey != "123" || p.ProductSecret.Reveal() != "0123" || p.Devices[0].DeviceName != "0x10" ||
		p.Devices[0].DeviceSecret.Reveal() != "1e3" || !p.Devices[0].Disabled {
		t.Errorf("got %+v with %q", p, p.ProductSecret.Reveal())
	}
}

func TestAnEmptyFixtureIsAnEmptyPlatform(t *testing.T) {
	for _, text := range []string{"", "# nothing yet\n", "products: []", "products:", "{}"} {
		if got, err := ParseFixture("f", []byte(text)); err != nil || len(got.Products) != 0 {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestAFixturesErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an unknown key", documented + "colour: red\n", `f.yaml:9: unknown key "colour"`},
		{"an unknown key of a device", strings.Replace(documented, "device_secret", "secret", 1), `f.yaml:7: unknown key "secret"`},
		{"two unknown keys", "a: 1\nb: 2\n", "f.yaml:1: unknown key \"a\"\nf.yaml:2: unknown key \"b\""},
		{"a key twice", "products: []\nproducts: []\n", `f.yaml:2: the key "products" was given before, in line 1`},
		{"a bad product key", "products:\n  - product_key: a-b\n", "f.yaml:2: not a device"},
		{"no product key", "products:\n  - product_secret: hunter2\n", "f.yaml: product 1 of the list has no product_key"},
		{"a bad device name", strings.Replace(documented, "dev-002", "dev|002", 1), "f.yaml:8: not a device"},
		{"no device name", "products:\n  - product_key: a1\n    devices:\n      - disabled: true\n", "f.yaml: device 1 of the product a1 has no device_name"},
		{"a product twice", "products:\n  - product_key: a1\n  - product_key: a1\n", `f.yaml:3: the product "a1" was named before, in line 2`},
		{"a device twice", strings.Replace(documented, "dev-002", "dev-001", 1), `f.yaml:8: the device "dev-001" was named before, in line 6`},
		{"a long secret", "products:\n  - product_key: a1\n    product_secret: hunter2" + strings.Repeat("x", 64) + "\n", "f.yaml:3: the platform would not take it: product_secret has 71 bytes"},
		{"a secret with a blank", "products:\n  - product_key: a1\n    devices:\n      - device_name: d\n        device_secret: hunter2 x\n", "f.yaml:5: the platform would not take it: device_secret must be"},
		{"a secret that is a list", "products:\n  - product_key: a1\n    product_secret: [hunter2]\n", "f.yaml:3: a text is expected here"},
		{"a switch that is none", "products:\n  - product_key: a1\n    dynamic_registration: hunter2\n", "f.yaml:3: true or false is expected here"},
		{"products that are no list", "products: hunter2\n", "f.yaml:1: a list is expected here"},
		{"a list at the top", "- hunter2\n", "f.yaml:1: a map of keys and values is expected here"},
		{"no YAML", "products:\n  - product_key: [hunter2\n", "f.yaml:1: here or in the next line, not YAML"},
		{"two documents", documented + "---\nproducts: []\n", "f.yaml: a fixture is one YAML document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseFixture("f.yaml", []byte(c.text))
			if err == nil {
				t.Fatalf("it was read as %+v", got)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
	if _, err := New(Options{StateDir: stateDir, FixtureFile: filepath.Join(t.TempDir(), "missing.yaml")}); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestAFixtureOfOnesOwnIsCheckedToo(t *testing.T) {
	f := fixture()
	f.Products[0].Devices[1].DeviceName = "dev|002"
	if _, err := New(Options{StateDir: stateDir, Fixture: f}); err == nil || !strings.Contains(err.Error(), "dev|002") {
		t.Errorf("got %v", err)
	}
}
