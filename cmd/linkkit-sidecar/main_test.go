package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"linkkit-sidecar": main})
}

// TestCommand runs the real command by the scripts in testdata/script, which are meant to be read. Beside what testscript knows:
//
//	start NAME COMMAND…   starts a server, waits for its ready line, and sets NAME_KEY for each text in it
//	stop NAME [CODE]      ends it by SIGTERM; what it said is then in server.stdout and server.stderr
//	kill9 NAME            ends it as a crash would; the same
//	until REGEXP COMMAND… runs the command until its output matches
func TestCommand(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			servers := &servers{running: map[string]*server{}}
			env.Values[serversKey{}] = servers
			env.Defer(servers.killAll)
			env.Setenv("LINKKIT_SIDECAR_ADDRESS", "unix://"+filepath.Join(env.WorkDir, "sidecar.sock"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "stop": stop, "kill9": kill9, "until": until,
		},
	})
}

type serversKey struct{}

type servers struct {
	mu      sync.Mutex
	running map[string]*server
}

func (s *servers) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range s.running {
		_ = server.cmd.Process.Kill()
		<-server.done
	}
}

// server is a process that runs beside a script.
type server struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer // complete when done is closed
	done           chan struct{}
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND…")
	}
	s := &server{cmd: exec.Command(lookPath(ts, args[1]), args[2:]...), done: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = ts.MkAbs("."), environ(ts)
	s.cmd.Stderr = &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ready := make(chan string, 1)
	go func() {
		defer close(s.done)
		lines := bufio.NewReader(stdout)
		line, _ := lines.ReadString('\n')
		ready <- line
		s.stdout.WriteString(line)
		_, _ = s.stdout.ReadFrom(lines)
		_ = s.cmd.Wait()
	}()
	all := ts.Value(serversKey{}).(*servers)
	all.mu.Lock()
	all.running[args[0]] = s
	all.mu.Unlock()
	var said map[string]any
	select {
	case line := <-ready:
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			<-s.done
			ts.Fatalf("%s is not ready: %q, %v\n%s", args[0], line, err, s.stderr.String())
		}
	case <-time.After(patience):
		ts.Fatalf("%s does not become ready", args[0])
	}
	for key, value := range said {
		if text, ok := value.(string); ok {
			ts.Setenv(args[0]+"_"+key, text)
		}
	}
}

// lookPath finds a command as the script would.
func lookPath(ts *testscript.TestScript, name string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return path
		}
	}
	ts.Fatalf("there is no command %s", name)
	return ""
}

// environ is the environment that the script has.
func environ(ts *testscript.TestScript) []string {
	all := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "WORK", "GOCOVERDIR"} {
		all = append(all, name+"="+ts.Getenv(name))
	}
	for _, name := range []string{"ADDRESS", "STATE_DIR", "CONFIG", "LOG_LEVEL", "LISTEN"} {
		if value := ts.Getenv("LINKKIT_SIDECAR_" + name); value != "" {
			all = append(all, "LINKKIT_SIDECAR_"+name+"="+value)
		}
	}
	return all
}

func take(ts *testscript.TestScript, name string) *server {
	all := ts.Value(serversKey{}).(*servers)
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.running[name]
	if s == nil {
		ts.Fatalf("there is no server %s", name)
	}
	delete(all.running, name)
	return s
}

func stop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: stop NAME [CODE]")
	}
	s := take(ts, args[0])
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.done
		ts.Fatalf("%s does not stop\n%s", args[0], s.stderr.String())
	}
	want := "0"
	if len(args) == 2 {
		want = args[1]
	}
	if got := fmt.Sprint(s.cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("%s ended with code %s, want %s\n%s", args[0], got, want, s.stderr.String())
	}
	tell(ts, s)
}

func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 NAME")
	}
	s := take(ts, args[0])
	ts.Check(s.cmd.Process.Kill())
	<-s.done
	tell(ts, s)
}

// tell makes what a server said the output that the script looks at.
func tell(ts *testscript.TestScript, s *server) {
	out, err := ts.MkAbs("server.stdout"), ts.MkAbs("server.stderr")
	ts.Check(os.WriteFile(out, s.stdout.Bytes(), 0o600))
	ts.Check(os.WriteFile(err, s.stderr.Bytes(), 0o600))
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(lookPath(ts, args[1]), args[2:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
		out, _ := cmd.CombinedOutput()
		if want.Match(out) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no %q in time; the last was\n%s", args[0], out)
		}
	}
}
