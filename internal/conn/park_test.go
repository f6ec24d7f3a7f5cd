package conn

import (
	"testing"
	"testing/synctest"
)

func TestGoesOnOnceWhoeverCallsWhenever(t *testing.T) {
	for name, wakes := range map[string]func(wake func()) (later int){
		"while it is being told": func(wake func()) int { wake(); return 0 },
		"often meanwhile":        func(wake func()) int { wake(); wake(); return 1 },
		"often afterwards":       func(func()) int { return 3 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wake func()
				later, forgot, went := 0, 0, 0
				park(func(w func()) (forget func()) {
					wake, later = w, wakes(w)
					return func() { forgot++ }
				}, func() { went++ })
				for range later {
					go wake()
				}
				synctest.Wait()
				if forgot != 1 || went != 1 {
					t.Errorf("it went on %d times and had itself forgotten %d times", went, forgot)
				}
			})
		})
	}
}
