// Package arrows checks the plan of the house: which room may know which, and who may hold which library.
//
// It reads what `go list` and the parser say of the files that are built into the command. Tests may know anyone.
package arrows

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/linkkit-sidecar/linkkit-sidecar/"

// arrows lists, for each room under internal, the rooms that it may know. A new room is given its arrows here.
var arrows = map[string]string{
	"device":     "",
	"trust":      "",
	"statedir":   "",
	"message":    "",
	"measure":    "",
	"trace":      "device message",
	"admin":      "conn device event inbox measure store",
	"config":     "device",
	"event":      "device",
	"platform":   "device",
	"credential": "device statedir",
	"store":      "device measure message statedir",
	"outbox":     "device measure message",
	"inbox":      "device message platform",
	"conn":       "credential device event inbox measure message outbox platform statedir trace trust", // what it stores, it asks of an interface
	"server":     "conn credential device event inbox message outbox platform statedir trace trust",
	"sandbox":    "device platform statedir", // the platform knows nothing of sidecars
	"cli":        "admin config conn credential device event inbox outbox platform sandbox server statedir store trace trust",
}

// holders lists, for each library that is kept in its place, the files and directories (with a slash) that may import it.
// A library stands for all packages under it.
var holders = map[string]string{
	"github.com/eclipse/paho.mqtt.golang":     "internal/conn/link_mqtt.go",
	"go.etcd.io/bbolt":                        "internal/store/",
	"filippo.io/age":                          "internal/credential/",
	"github.com/spf13":                        "internal/cli/ internal/config/",
	"github.com/prometheus":                   "internal/admin/ internal/cli/ internal/server/",
	"github.com/grpc-ecosystem":               "internal/server/ internal/sandbox/",
	"go.opentelemetry.io/contrib":             "internal/server/",
	"go.opentelemetry.io/otel":                "internal/trace/ internal/server/",
	"go.opentelemetry.io/otel/sdk":            "internal/trace/otlp/",
	"go.opentelemetry.io/otel/exporters":      "internal/trace/otlp/",
	"google.golang.org/grpc":                  "gen/ internal/server/ internal/sandbox/ internal/cli/",
	"google.golang.org/protobuf":              "gen/ internal/server/ internal/sandbox/ internal/cli/",
	module + "gen/linkkit_sidecar/v1":         "internal/server/ internal/cli/",
	module + "gen/linkkit_sidecar/sandbox/v1": "internal/sandbox/ internal/cli/",

	module + "internal/cli": "cmd/linkkit-sidecar/",
}

// strangers lists, for each room, libraries that must not come in even by way of others.
var strangers = map[string][]string{
	"conn":     {"google.golang.org/grpc", "google.golang.org/protobuf", module + "gen", module + "internal/sandbox", module + "internal/trace/otlp"},
	"server":   {module + "internal/sandbox", module + "internal/store", module + "internal/trace/otlp", "buf.build/go/protovalidate"},
	"platform": {"net/http", "crypto/rand", "math/rand", "math/rand/v2"},
}

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string // by the files that are built; not by tests
	Deps       []string // all that these import in turn
	GoFiles    []string
}

// dir is the package's place in the repository.
func (p pkg) dir() string { return strings.TrimPrefix(p.ImportPath, module) }

// room is the room that an import path is in, or "".
func room(importPath string) string {
	inside, found := strings.CutPrefix(importPath, module+"internal/")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(inside, "/")
	return name
}

// within reports whether an import path is library or lies under it.
func within(importPath, library string) bool {
	return importPath == library || strings.HasPrefix(importPath, library+"/")
}

// wrongArrows names each import of a room by another that the plan does not have.
func wrongArrows(packages []pkg) (wrong []string) {
	for _, p := range packages {
		from := room(p.ImportPath)
		if from == "" {
			continue
		}
		known, planned := arrows[from]
		if !planned {
			wrong = append(wrong, from+" is not in the plan: give it its arrows")
		}
		for _, i := range p.Imports {
			if to := room(i); to != "" && to != from && !slices.Contains(strings.Fields(known), to) {
				wrong = append(wrong, from+" must not know "+to)
			}
		}
	}
	return wrong
}

// wrongCompany names each room that a library came into which should not.
func wrongCompany(packages []pkg) (wrong []string) {
	for _, p := range packages {
		for _, library := range strangers[room(p.ImportPath)] {
			if slices.ContainsFunc(p.Deps, func(d string) bool { return within(d, library) }) {
				wrong = append(wrong, p.dir()+" depends on "+library)
			}
		}
	}
	return wrong
}

// wrongHands says who imports what is kept in its place, without being its holder.
func wrongHands(file string, imports []string) (wrong []string) {
	for library, places := range holders {
		allowed := slices.ContainsFunc(strings.Fields(places), func(place string) bool {
			return place == file || strings.HasSuffix(place, "/") && strings.HasPrefix(file, place)
		})
		if !allowed && slices.ContainsFunc(imports, func(i string) bool { return within(i, library) }) {
			wrong = append(wrong, fmt.Sprintf("%s must not import %s; %s may", file, library, places))
		}
	}
	return wrong
}

// impure lists functions of packages which the platform's rules otherwise use: those that read a clock or touch the network.
var impure = map[string]string{
	"time": "After AfterFunc NewTicker NewTimer Now Since Sleep Tick Until",
	"net": "Dial DialIP DialTCP DialTimeout DialUDP DialUnix Interfaces Listen ListenPacket LookupAddr LookupCNAME LookupHost LookupIP " +
		"LookupMX LookupNS LookupPort LookupSRV LookupTXT ResolveIPAddr ResolveTCPAddr ResolveUDPAddr",
}

// impurities names the impure functions that a file uses.
func impurities(file *ast.File) (wrong []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(strings.Fields(impure[x.Name]), s.Sel.Name) {
				wrong = append(wrong, x.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return wrong
}

// importsOf lists the import paths of a file.
func importsOf(t *testing.T, file *ast.File) (paths []string) {
	t.Helper()
	for _, i := range file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// list asks go for the packages of this module that are built into the command or could be.
func list(t *testing.T) (packages []pkg) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,GoFiles",
		"./cmd/...", "./gen/...", "./internal/...")
	cmd.Dir = "../.."
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &complaint)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 { // else it is only tests
			packages = append(packages, p)
		}
	}
}

func TestRoomsKnowOnlyWhomThePlanLetsThem(t *testing.T) {
	packages := list(t)
	for _, wrong := range slices.Concat(wrongArrows(packages), wrongCompany(packages)) {
		t.Error(wrong)
	}
}

func TestLibrariesStayInTheirPlaces(t *testing.T) {
	held := map[string]bool{}
	for _, p := range list(t) {
		for _, name := range p.GoFiles {
			where := path.Join(p.dir(), name)
			file, err := parser.ParseFile(token.NewFileSet(), "../../"+where, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			imports := importsOf(t, file)
			for _, wrong := range wrongHands(where, imports) {
				t.Error(wrong)
			}
			for library := range holders {
				held[library] = held[library] || slices.ContainsFunc(imports, func(i string) bool { return within(i, library) })
			}
			if room(p.ImportPath) == "platform" {
				for _, use := range impurities(file) {
					t.Errorf("%s uses %s; the platform's rules are pure functions", where, use)
				}
			}
		}
	}
	for library := range holders {
		if !held[library] {
			t.Errorf("nobody imports %s: take it out of the plan", library)
		}
	}
}

func TestWrongArrowsAreFound(t *testing.T) {
	packages := []pkg{
		{ImportPath: module + "internal/event", Imports: []string{"fmt", module + "internal/device", module + "internal/conn"}},
		{ImportPath: module + "internal/conn/deeper", Imports: []string{module + "internal/conn", module + "internal/sandbox/x"}},
		{ImportPath: module + "internal/attic"},
		{ImportPath: module + "cmd/linkkit-sidecar", Imports: []string{module + "internal/cli"}},
	}
	want := []string{"event must not know conn", "conn must not know sandbox", "attic is not in the plan: give it its arrows"}
	if got := wrongArrows(packages); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestWrongCompanyIsFound(t *testing.T) {
	packages := []pkg{
		{ImportPath: module + "internal/conn", Deps: []string{"fmt", "google.golang.org/grpc/codes"}},
		{ImportPath: module + "internal/cli", Deps: []string{"google.golang.org/grpc"}},
		{ImportPath: module + "internal/platform", Deps: []string{"net", "net/http/httptrace", "net/httputil"}},
	}
	want := []string{"internal/conn depends on google.golang.org/grpc", "internal/platform depends on net/http"}
	if got := wrongCompany(packages); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestWrongHandsAreFound(t *testing.T) {
	const paho, grpc = "github.com/eclipse/paho.mqtt.golang", "google.golang.org/grpc/codes"
	for _, c := range []struct {
		file, imports string
		wrong         bool
	}{
		{"internal/conn/link_mqtt.go", paho, false},
		{"internal/conn/link_mqtt.go", paho + "/packets", false},
		{"internal/conn/keeper.go", paho, true},
		{"internal/conn/keeper.go", paho + "/packets", true},
		{"internal/conn/keeper.go", "net", false},
		{"internal/server/errors.go", grpc, false},
		{"internal/serverless/errors.go", grpc, true},
		{"internal/event/log.go", grpc, true},
		{"cmd/linkkit-sidecar/main.go", module + "internal/cli", false},
		{"internal/server/errors.go", module + "internal/cli", true},
	} {
		if got := wrongHands(c.file, []string{"fmt", c.imports}); (len(got) > 0) != c.wrong {
			t.Errorf("%s imports %s: found %q", c.file, c.imports, got)
		}
	}
}

func TestImpuritiesAreFound(t *testing.T) {
	const source = `package p; func f() { _ = net.JoinHostPort("", ""); _ = time.Second; net.Dial("", ""); f := time.Now; s.Now() }`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := impurities(file), []string{"net.Dial", "time.Now"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
