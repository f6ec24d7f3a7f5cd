package statedir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file whose lock stands for the whole directory. It stays behind on purpose: removing a lock file
// would let two processes lock two files of the same name.
const lockName = "lock"

// ErrInUse is what errors.Is finds in an InUseError.
var ErrInUse = errors.New("the state directory is in use")

// InUseError says that another process holds the state directory.
type InUseError struct {
	Dir string
	PID int // as the holder sees itself, which in another container is another number; 0 when it could not be told
}

// Error names the holder and the way out.
func (e *InUseError) Error() string {
	who := "another linkkit-sidecar"
	if e.PID != 0 {
		who += fmt.Sprintf(" (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s uses %s; give this one its own --state-dir", who, e.Dir)
}

// Is makes errors.Is(err, ErrInUse) true.
func (*InUseError) Is(target error) bool { return target == ErrInUse }

// Lock takes the prepared dir for this process until unlock is called or the process ends, however it ends.
// It does not wait: when another process has it, the error is an InUseError.
func Lock(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		// The pid is a courtesy to the next one. A full disk that cannot take it must not keep a device offline.
		if f.Truncate(0) == nil {
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		return f.Close, nil
	}
	defer func() { _ = f.Close() }()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &InUseError{Dir: dir, PID: readPID(f)}
	}
	return nil, fmt.Errorf("cannot lock %s: %w; does its file system support locks?", f.Name(), err)
}

// Holder is the pid that holds, or held last, the lock of dir; 0 when nobody wrote one.
func Holder(dir string) int {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	return readPID(f)
}

func readPID(f *os.File) int {
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
