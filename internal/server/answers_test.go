package server

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAServerThatRunsAnswers(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server")
	for name, change := range map[string]func(*Options){
		"Unix":     func(*Options) {},
		"insecure": func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", TCP{Insecure: true} },
		"token":    func(o *Options) { o.Address, o.TCP = "127.0.0.1:0", TCP{TokenFile: tokenFile(t, goodToken, 0o600)} },
		"TLS": func(o *Options) {
			o.Address, o.TCP = "127.0.0.1:0", TCP{TokenFile: tokenFile(t, goodToken, 0o600), CertFile: cert, KeyFile: key}
		},
		"mutual TLS": func(o *Options) {
			o.Address, o.TCP = "127.0.0.1:0", TCP{ClientCAFile: a.file, CertFile: cert, KeyFile: key}
		},
		"its limit": func(o *Options) { o.Limits.RequestsPerSecond = 1e-9 },
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, change)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for range 2 {
				if err := w.server.Answers(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.stop(); err != nil {
				t.Fatal(err)
			}
			if err := w.server.Answers(ctx); err == nil {
				t.Error("a server that has stopped answers")
			}
		})
	}
}

// TestASocketThatIsOnlyBoundDoesNotAnswer: connections are taken by the kernel, and nobody serves them.
func TestASocketThatIsOnlyBoundDoesNotAnswer(t *testing.T) {
	s, err := New(Options{Address: "unix://" + filepath.Join(t.TempDir(), "s.sock"), Devices: newFakeDevices(nil), Events: newLog(t), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Answers(ctx); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Answers: %v", err)
	}
}

func TestAnotherServerOnTheAddressIsNoAnswer(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server")
	other, otherKey := a.issue("other")
	w := serve(t, func(o *Options) {
		o.Address, o.TCP = "127.0.0.1:0", TCP{ClientCAFile: a.file, CertFile: cert, KeyFile: key}
	})
	stranger := serve(t, func(o *Options) {
		o.Address, o.TCP = "127.0.0.1:0", TCP{ClientCAFile: a.file, CertFile: other, KeyFile: otherKey}
	})
	w.server.address = stranger.server.Address()
	if err := w.server.Answers(t.Context()); err == nil || !strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("Answers: %v", err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.Close()
	w.server.address = plain.Addr().String()
	if err := w.server.Answers(t.Context()); err == nil {
		t.Error("an address on which nobody listens answers")
	}
}
