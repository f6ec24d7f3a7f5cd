// Package metrics tests what a monitoring system sees of the built binary: the metrics, and what is made of them in deploy/.
package metrics

import (
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
