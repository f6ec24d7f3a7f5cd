package credential

import (
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Intent is what a sidecar writes down before it asks the platform to register a device. One that is found after a
// start says that the platform may have given out a secret that nobody stored.
type Intent struct {
	Method    string    // how the device registers, such as "pre_registered"
	Endpoint  string    // where
	StartedAt time.Time // when
}

// Begin writes down that a registration is about to begin, in place of an earlier intent. Register only after it has
// returned nil: then it is on disk.
func (s *Store) Begin(id device.ID, i Intent) error {
	return s.with(id, "write down the coming registration", func() error {
		data, err := encode(intentRecord{
			Version: version, ProductKey: id.ProductKey, DeviceName: id.DeviceName,
			Method: i.Method, Endpoint: i.Endpoint, StartedAt: i.StartedAt.UTC(),
		})
		if err != nil {
			return err
		}
		return writeDurably(s.path(fileOf(id, intent, plain)), data)
	})
}

// End removes the intent: the registration is over, and what it gave out is stored or was refused. None is fine.
func (s *Store) End(id device.ID) error {
	return s.with(id, "write down the end of the registration", func() error {
		return removeDurably(s.dir, fileOf(id, intent, plain))
	})
}

// Interrupted lists the intents that were begun and not ended: at the start of a process, those that an earlier one was
// killed over. One that cannot be read is listed empty, since it says enough by being there.
func (s *Store) Interrupted() (map[device.ID]Intent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, _, _, err := list(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the registrations that were interrupted: %w", err)
	}
	all := map[device.ID]Intent{}
	for _, e := range used {
		if e.slot != intent {
			continue
		}
		var r intentRecord
		data, err := readPrivate(s.path(e))
		if err == nil {
			err = decode(data, &r, &r.Version)
		}
		if err != nil {
			s.log.Error("the note about a registration cannot be read", "device", e.id.String(), "file", s.path(e), "error", err)
			all[e.id] = Intent{}
			continue
		}
		all[e.id] = Intent{Method: r.Method, Endpoint: r.Endpoint, StartedAt: r.StartedAt}
	}
	return all, nil
}
