package credential

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// children are the programs that the test binary becomes when it starts itself again: what they do to themselves, no
// test could survive. Each gets a state directory and a key file, which may be "".
var children = map[string]func(dir, keyFile string){
	"put":     putForEver,
	"promote": promoteForEver,
	"fill up": fillUp,
}

const childEnv = "CREDENTIAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(childEnv), "|"); len(args) == 3 {
		children[args[0]](args[1], args[2])
		return
	}
	os.Exit(m.Run())
}

// child starts the test binary as the named child. Its lines come from stdout; its errors go to the test's.
func child(t *testing.T, name, dir, keyFile string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name+"|"+dir+"|"+keyFile)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(stdout)
}

// must ends a child that cannot go on.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func open(t testing.TB, dir, keyFile string) *Store {
	t.Helper()
	s, err := Open(dir, Options{KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

// newKey writes an age identity file with the given identities, or with a new one.
func newKey(t testing.TB, identities ...string) string {
	t.Helper()
	if len(identities) == 0 {
		identities = []string{newIdentity(t)}
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("# a key\n"+strings.Join(identities, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newIdentity(t testing.TB) string {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity.String()
}

// names lists the files of the store.
func names(t testing.TB, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, dirName))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}

func write(t testing.TB, dir, name string, data []byte, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, dirName, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

// encoded is the file of a credential as it is on disk without encryption.
func encoded(t testing.TB, id device.ID, c Credential) []byte {
	t.Helper()
	data, err := encodeCredential(id, c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func dev(name string) device.ID { return device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: name} }

func secret(s string) Credential {
	return Credential{Kind: DeviceSecret, Secret: device.NewSecret(s), Source: "connect"}
}
