package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Fixture is what the platform knows when it starts. The zero value is an empty platform.
type Fixture struct {
	Products []FixtureProduct
}

// FixtureProduct is a product of a fixture.
type FixtureProduct struct {
	ProductKey          string
	ProductSecret       device.Secret // zero: one is made up
	DynamicRegistration bool
	Devices             []FixtureDevice
}

// FixtureDevice is a device of a fixture.
type FixtureDevice struct {
	DeviceName   string
	DeviceSecret device.Secret // zero: it has none until it registers
	Disabled     bool
}

// ReadFixture reads a fixture from a YAML file:
//
//	products:
//	  - product_key: a1B2c3D4e5F
//	    product_secret: PsSecret01234567    # optional: one is made up
//	    dynamic_registration: true          # default false
//	    devices:
//	      - device_name: dev-001
//	        device_secret: 0123456789abcdef0123456789abcdef
//	      - device_name: dev-002            # no secret yet: it is made when the device registers
//	        disabled: true                  # default false
func ReadFixture(path string) (Fixture, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Fixture{}, fmt.Errorf("the fixture cannot be read: %w", err)
	}
	return ParseFixture(path, data)
}

// ParseFixture reads the text of a fixture. Errors name the file and the line, and never tell a secret.
func ParseFixture(name string, data []byte) (Fixture, error) {
	in := yaml.NewDecoder(bytes.NewReader(data))
	in.KnownFields(true)
	var file fixtureFile
	if err := in.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return Fixture{}, fixtureError(name, err)
	}
	if err := in.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Fixture{}, fmt.Errorf("%s: a fixture is one YAML document, and another one follows it", name)
	}
	f, err := file.fixture()
	if err != nil {
		return Fixture{}, fmt.Errorf("%s:%w", name, err)
	}
	return f, nil
}

// fixtureFile is a fixture as it stands in its file.
type fixtureFile struct {
	Products []productEntry `yaml:"products"`
}

type productEntry struct {
	ProductKey          text          `yaml:"product_key"`
	ProductSecret       text          `yaml:"product_secret"`
	DynamicRegistration bool          `yaml:"dynamic_registration"`
	Devices             []deviceEntry `yaml:"devices"`
}

type deviceEntry struct {
	DeviceName   text `yaml:"device_name"`
	DeviceSecret text `yaml:"device_secret"`
	Disabled     bool `yaml:"disabled"`
}

// text is a scalar as it was typed: a secret of digits alone needs no quotes, and keeps its leading zeros.
type text struct {
	value string
	line  int
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *text) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: a text is expected here, not a list or a map", n.Line)
	}
	t.value, t.line = n.Value, n.Line
	return nil
}

// fixture checks the values, and turns secrets into what is not printed. Errors begin with the line.
func (f fixtureFile) fixture() (Fixture, error) {
	var all Fixture
	lines := map[any]int{} // where each product and device was named first
	first := func(key any, what string, at text) error {
		if before := lines[key]; before != 0 {
			return fmt.Errorf("%d: %s %q was named before, in line %d", at.line, what, at.value, before)
		}
		lines[key] = at.line
		return nil
	}
	for i, p := range f.Products {
		product := FixtureProduct{
			ProductKey: p.ProductKey.value, ProductSecret: device.NewSecret(p.ProductSecret.value), DynamicRegistration: p.DynamicRegistration,
		}
		if p.ProductKey.line == 0 {
			return Fixture{}, fmt.Errorf(" product %d of the list has no product_key", i+1)
		}
		if err := (device.ID{ProductKey: p.ProductKey.value, DeviceName: "x"}).Validate(); err != nil {
			return Fixture{}, fmt.Errorf("%d: %w", p.ProductKey.line, err)
		}
		if err := first(p.ProductKey.value, "the product", p.ProductKey); err != nil {
			return Fixture{}, err
		}
		if err := validateSecret("product_secret", product.ProductSecret); err != nil {
			return Fixture{}, fmt.Errorf("%d: %w", p.ProductSecret.line, err)
		}
		for j, d := range p.Devices {
			id := device.ID{ProductKey: p.ProductKey.value, DeviceName: d.DeviceName.value}
			secret := device.NewSecret(d.DeviceSecret.value)
			if d.DeviceName.line == 0 {
				return Fixture{}, fmt.Errorf(" device %d of the product %s has no device_name", j+1, id.ProductKey)
			}
			if err := id.Validate(); err != nil {
				return Fixture{}, fmt.Errorf("%d: %w", d.DeviceName.line, err)
			}
			if err := first(id, "the device", d.DeviceName); err != nil {
				return Fixture{}, err
			}
			if err := validateSecret("device_secret", secret); err != nil {
				return Fixture{}, fmt.Errorf("%d: %w", d.DeviceSecret.line, err)
			}
			product.Devices = append(product.Devices, FixtureDevice{DeviceName: id.DeviceName, DeviceSecret: secret, Disabled: d.Disabled})
		}
		all.Products = append(all.Products, product)
	}
	return all, nil
}

// What the YAML library says, and what of it may be repeated: it quotes values, which may be secrets.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (\S+) not found in type`)
	twiceKey   = regexp.MustCompile(`^line (\d+): mapping key "([^"]*)" already defined at line (\d+)`)
	wrongType  = regexp.MustCompile(`^line (\d+): cannot unmarshal (?s:.*) into (\S+)$`)
	badSyntax  = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)
	textWanted = regexp.MustCompile(`^line (\d+): a text is expected`)
)

// fixtureError says in our own words where the file is wrong.
func fixtureError(name string, err error) error {
	problems := []string{err.Error()}
	if typed, ok := errors.AsType[*yaml.TypeError](err); ok {
		problems = typed.Errors
	}
	said := make([]string, len(problems))
	for i, problem := range problems {
		said[i] = name + explain(problem)
	}
	return errors.New(strings.Join(said, "\n"))
}

func explain(problem string) string {
	if m := unknownKey.FindStringSubmatch(problem); m != nil {
		return fmt.Sprintf(":%s: unknown key %q", m[1], m[2])
	}
	if m := twiceKey.FindStringSubmatch(problem); m != nil {
		return fmt.Sprintf(":%s: the key %q was given before, in line %s", m[1], m[2], m[3])
	}
	if m := wrongType.FindStringSubmatch(problem); m != nil {
		return fmt.Sprintf(":%s: %s", m[1], wanted(m[2]))
	}
	if m := textWanted.FindStringSubmatch(problem); m != nil {
		return fmt.Sprintf(":%s: a text is expected here, not a list or a map", m[1])
	}
	if m := badSyntax.FindStringSubmatch(problem); m != nil {
		return fmt.Sprintf(":%s: here or in the next line, not YAML: %s", m[1], m[2])
	}
	return ": not a fixture; the line could not be told (" + strconv.Itoa(len(problem)) + " bytes of explanation are withheld, for they may hold a secret)"
}

// wanted names what should stand in the place of a Go type.
func wanted(goType string) string {
	switch {
	case goType == "bool":
		return "true or false is expected here"
	case strings.HasPrefix(goType, "[]"):
		return "a list is expected here"
	}
	return "a map of keys and values is expected here"
}
