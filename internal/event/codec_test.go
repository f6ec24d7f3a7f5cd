package event

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEveryStoredBodyComesBackAsItWas(t *testing.T) {
	for kind, read := range decoders {
		zero, err := read([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if zero.Kind() != kind {
			t.Errorf("kind %d is read into a %T, which is of kind %d", kind, zero, zero.Kind())
		}
		t.Run(reflect.TypeOf(zero).Name(), rapid.MakeCheck(func(t *rapid.T) {
			body := reflect.New(reflect.TypeOf(zero)).Elem()
			draw(t, body)
			want := Event{Sequence: 7, Device: dev("d1"), Body: body.Interface().(Body)}
			draw(t, reflect.ValueOf(&want.Time).Elem())
			data, err := encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(7, data)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ngot  %+v\nwant %+v", data, got, want)
			}
		}))
	}
}

// draw fills v with anything that its type can hold.
func draw(t *rapid.T, v reflect.Value) {
	if moment, ok := reflect.TypeAssert[*time.Time](v.Addr()); ok {
		if at := rapid.Int64Range(0, 1<<33).Draw(t, "seconds"); at > 0 {
			*moment = time.Unix(at, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Uint8().Draw(t, "byte")))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(1, 3).Draw(t, "length"), 3))
		for i := range v.Len() {
			draw(t, v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			draw(t, field)
		}
	default:
		t.Fatalf("this test must learn to draw a %s", v.Type())
	}
}

// TestEveryBodyHasADecoder reads this package's source: a new type with a method Kind must be readable from the journal, unless it
// is made for one reader.
func TestEveryBodyHasADecoder(t *testing.T) {
	readable := []string{"Snapshot", "Gap"}
	for _, read := range decoders {
		body, err := read([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		readable = append(readable, reflect.TypeOf(body).Name())
	}
	bodies := 0
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			method, ok := d.(*ast.FuncDecl)
			if !ok || method.Recv == nil || method.Name.Name != "Kind" {
				continue
			}
			bodies++
			if receiver := method.Recv.List[0].Type.(*ast.Ident).Name; !slices.Contains(readable, receiver) {
				t.Errorf("%s has no decoder: after a restart it would be a gap", receiver)
			}
		}
	}
	if bodies != len(readable) {
		t.Errorf("found %d types of bodies in the source and %d decoders", bodies, len(readable))
	}
}

func TestStatusAndEventsHoldNoSecret(t *testing.T) {
	var look func(path string, of reflect.Type)
	look = func(path string, of reflect.Type) {
		if of.PkgPath() == reflect.TypeFor[time.Time]().PkgPath() {
			return
		}
		if of.Name() == "Secret" {
			t.Errorf("%s is a secret", path)
		}
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice:
			look(path, of.Elem())
		case reflect.Struct:
			for f := range of.Fields() {
				look(path+"."+f.Name, f.Type)
			}
		default: // holds nothing
		}
	}
	look("Snapshot", reflect.TypeFor[Snapshot]())
	for _, read := range decoders {
		body, _ := read([]byte("{}"))
		look(reflect.TypeOf(body).Name(), reflect.TypeOf(body))
	}
}

// The journal of today is read by the sidecar of tomorrow.
func TestStoredFormStaysReadable(t *testing.T) {
	const stored = `{"time":"2026-11-24T08:00:00Z","device":{"product_key":"a1B2c3D4e5F","device_name":"d1"},"kind":5,` +
		`"body":{"cause":18,"detail":"closed","next_attempt":"2026-11-24T08:00:02Z","held":60000000000}}`
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	want := Event{Sequence: 3, Time: at, Device: dev("d1"), Body: Lost{
		Cause: CauseClosedByServer, Detail: "closed", NextAttempt: at.Add(2 * time.Second), Held: time.Minute,
	}}
	got, err := decode(3, []byte(stored))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v", got, err)
	}
	written, err := encode(want)
	var a, b any
	if err != nil || json.Unmarshal(written, &a) != nil || json.Unmarshal([]byte(stored), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("now it is stored as %s, error %v", written, err)
	}
}

func TestEveryCauseHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for c := range Cause(len(causeNames)) {
		if name := c.String(); name == "" || seen[name] {
			t.Errorf("cause %d is called %q", c, name)
		}
		seen[c.String()] = true
	}
	if CauseAckTimeout.String() != causeNames[len(causeNames)-1] || Cause(-1).String() != Cause(999).String() {
		t.Error("the names do not end with the causes")
	}
	for code, want := range map[byte]Cause{
		1: CauseConnackProtocolVersion, 2: CauseConnackIdentifier, 3: CauseConnackServerUnavailable,
		4: CauseConnackBadCredentials, 5: CauseConnackNotAuthorized, 6: CauseConnackOther, 200: CauseConnackOther,
	} {
		if got := CauseOfConnack(code); got != want {
			t.Errorf("CONNACK %d is %v, want %v", code, got, want)
		}
	}
}
