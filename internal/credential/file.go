package credential

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// maxFile is more bytes than any record has: three fields of 64 KiB, each byte of which JSON may escape with six.
const maxFile = 2 << 20

// readPrivate reads a file that nobody else can reach, and refuses any other.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not hang on a pipe that lies there
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := statedir.Private(f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%w: it has more than %d bytes", errDamaged, maxFile)
	}
	return data, err
}

// writeDurably replaces the file at path, mode 0600, in one step that survives a power cut. After an error the old
// content is there or the new, never a mix. The temporary file is made next to it: a shared /tmp is no place for a secret.
func writeDurably(path string, data []byte) error {
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return statedir.NoRoom(err)
	}
	defer func() { _ = pending.Cleanup() }() // what it cannot clean up, the next Open does
	if _, err := pending.Write(data); err != nil {
		return statedir.NoRoom(err)
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return statedir.NoRoom(err)
	}
	return statedir.Sync(filepath.Dir(path))
}

// removeDurably removes the files that exist.
func removeDurably(dir string, entries ...entry) error {
	removed := false
	for _, e := range entries {
		switch err := os.Remove(filepath.Join(dir, e.name)); {
		case err == nil:
			removed = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !removed {
		return nil
	}
	return statedir.Sync(dir)
}
