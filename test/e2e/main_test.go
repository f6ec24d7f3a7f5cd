// Package e2e tests the built binary from outside.
package e2e

import (
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
