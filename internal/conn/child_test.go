package conn

import "os"

// childArgs are what this test binary is to do instead of testing: it is started anew to be killed.
func childArgs() []string {
	if os.Getenv("LINKKIT_SIDECAR_TEST_CHILD") == "" {
		return nil
	}
	return os.Args[1:]
}

func child() {}
