package conn

// bell is rung for all who wait at that time. It belongs to a lock. There is a channel while somebody waits, so that silence costs nothing.
type bell struct{ rung chan struct{} }

// next is closed the next time that the bell is rung.
func (b *bell) next() <-chan struct{} {
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
