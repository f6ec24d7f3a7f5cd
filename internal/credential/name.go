package credential

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// slot is one of the files that a device can have.
type slot string

const (
	current   slot = ""
	candidate slot = "candidate"
	intent    slot = "intent"
)

// What a file name ends in.
const (
	plain   = ".json"
	sealed  = ".json.age"
	corrupt = ".corrupt-"
)

// separator is in the alphabet neither of product keys nor of device names, so the name of one device's file is never
// that of another's; and since every name begins with a product key, none is "..", and none begins with the dot of a
// temporary file.
const separator = "+"

// entry is one file in the directory.
type entry struct {
	name string
	id   device.ID
	slot slot
	end  string // plain or sealed
}

// fileOf names a file of a device. The id must be valid, which Store.with sees to: that keeps "/" out of the name.
func fileOf(id device.ID, which slot, end string) entry {
	name := id.ProductKey + separator + id.DeviceName
	if which != current {
		name += separator + string(which)
	}
	return entry{name: name + end, id: id, slot: which, end: end}
}

// parseName is fileOf backwards; ok is false for any other file.
func parseName(name string) (e entry, ok bool) {
	end := plain
	if strings.HasSuffix(name, sealed) {
		end = sealed
	}
	base, ok := strings.CutSuffix(name, end)
	parts := strings.Split(base, separator)
	if !ok || len(parts) < 2 {
		return entry{}, false
	}
	e = fileOf(device.ID{ProductKey: parts[0], DeviceName: parts[1]}, slot(strings.Join(parts[2:], separator)), end)
	known := e.slot == current || e.slot == candidate || e.slot == intent
	return e, known && e.name == name && e.id.Validate() == nil
}

// list reads the directory: the files that are in use, and those that were set aside.
func list(dir string) (used, aside []entry, others []string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, f := range files {
		name := f.Name()
		if e, ok := parseName(name); ok {
			used = append(used, e)
			continue
		}
		if at := strings.LastIndex(name, corrupt); at >= 0 {
			if e, ok := parseName(name[:at]); ok {
				e.name = name
				aside = append(aside, e)
				continue
			}
		}
		others = append(others, name)
	}
	return used, aside, others, nil
}

func (s *Store) path(e entry) string { return filepath.Join(s.dir, e.name) }
