package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestIDsThatThePlatformTakes(t *testing.T) {
	for _, s := range []string{"a1B2c3D4e5F/dev-001", "a/b", "pk/" + strings.Repeat("x", 64), "pk/a_b-c@d.e:f"} {
		id, err := ParseID(s)
		if err != nil || id.String() != s {
			t.Errorf("ParseID(%q) = %v, %v", s, id, err)
		}
	}
}

func TestIDsThatWouldBreakAClientID(t *testing.T) {
	for _, s := range []string{"", "pk", "/dn", "pk/", "p|k/dn", "pk/d|n", "pk/d&n", "pk/d n", "pk/a/b", "pk/d\n", "pk/é", strings.Repeat("k", 21) + "/dn", "pk/" + strings.Repeat("x", 65)} {
		if id, err := ParseID(s); !errors.Is(err, ErrInvalidID) {
			t.Errorf("ParseID(%q) = %v, %v; want ErrInvalidID", s, id, err)
		}
	}
}

func TestASecretIsNeverSeen(t *testing.T) {
	s := NewSecret("hunter2")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S Secret }{s})
	inJSON, _ := json.Marshal(map[string]any{"s": s})
	for _, seen := range []string{
		fmt.Sprint(s), //nolint:gocritic // that fmt shows nothing is the point
		fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s),
		fmt.Sprintf("%+v", struct{ S Secret }{s}),
		string(inJSON),
		log.String(),
	} {
		if strings.Contains(seen, "hunter2") || !strings.Contains(seen, redacted) {
			t.Errorf("printed %s", seen)
		}
	}
	if seen := fmt.Sprintf("%v %+v %#v", struct{ s Secret }{s}, &struct{ s Secret }{s}, struct{ s *Secret }{&s}); strings.Contains(seen, "hunter2") {
		t.Errorf("an unexported field printed %s", seen)
	}
	if s.Reveal() != "hunter2" || !s.Equal(NewSecret("hunter2")) || s.Equal(NewSecret("hunter")) || s.IsZero() {
		t.Error("Reveal, Equal or IsZero is wrong")
	}
}
