package platform

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

var dev001 = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}

// vectors reads a file of testdata into a list of T.
func vectors[T any](t testing.TB, file string) []T {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no vectors", file)
	}
	return all
}

// wrongField is the field that err, which must be a *FieldError, names; "" when err is nil.
func wrongField(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	field, ok := errors.AsType[*FieldError](err)
	if !ok {
		t.Fatalf("%v is not a *FieldError", err)
	}
	return field.Field
}
