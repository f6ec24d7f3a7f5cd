// Package chaos has the built binary lose its links, its life, its apps and its disk, and keeps a ledger of what was promised meanwhile.
package chaos

import (
	"testing"

	"github.com/linkkit-sidecar/linkkit-sidecar/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	upTopic   = "/" + harness.ProductKey + "/dev-001/user/update"
	downTopic = "/" + harness.ProductKey + "/dev-001/user/get"
)
