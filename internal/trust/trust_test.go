package trust

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheRootsAreThoseWhoseFingerprintsTheFileNames(t *testing.T) {
	var named []string
	for line := range strings.Lines(string(rootsPEM)) {
		if _, fingerprint, found := strings.Cut(line, "Fingerprint="); found {
			named = append(named, strings.ToLower(strings.ReplaceAll(strings.TrimSpace(fingerprint), ":", "")))
		}
	}
	roots := Roots()
	if len(roots) != 6 || len(named) != 6 {
		t.Fatalf("%d roots, %d fingerprints; want 6 of each", len(roots), len(named))
	}
	for i, root := range roots {
		if got := fmt.Sprintf("%x", sha256.Sum256(root.Raw)); got != named[i] {
			t.Errorf("%s has fingerprint %s, the file says %s", Name(root), got, named[i])
		}
		if !root.IsCA {
			t.Errorf("%s is not a CA", Name(root))
		}
	}
}

func TestOnlyTheRootThatEndsWithinTwoYearsIsWarnedOf(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	var warned []string
	for _, root := range Roots() {
		if w := Warning(root, now); w != "" {
			warned = append(warned, w)
		}
	}
	if len(warned) != 1 || !strings.Contains(warned[0], `"GlobalSign Root CA" ends on 2028-01-28`) {
		t.Errorf("warned of %q, want GlobalSign R1 with its date alone", warned)
	}
}

func TestAFileWithAKeyIsRefused(t *testing.T) {
	for _, data := range []string{"", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := Parse([]byte(data)); err == nil {
			t.Errorf("Parse(%q) took it", data)
		}
	}
}
