package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

const (
	registrationPath = "/auth/register/device"
	maxForm          = 64 << 10
	httpsTimeout     = 20 * time.Second
)

// The codes of a registration over HTTPS.
const (
	deskOK           = 200
	deskBadParams    = 460
	deskNoDevice     = 6100
	deskNoProduct    = 6250
	deskSwitchedOff  = 6288
	deskActivated    = 6289
	deskSignMethod   = 6292
	deskBadSignature = 6600
)

// deskReply is the platform's answer. A refusal, too, has HTTP status 200.
type deskReply struct {
	Code    int               `json:"code"`
	Data    map[string]string `json:"data,omitempty"`
	Message string            `json:"message"`
}

// registrationDesk serves the legacy registration over HTTPS.
func (c *cloud) registrationDesk() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+registrationPath, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		id, reply := c.registerByForm(r)
		log := c.log.With("device", id, "code", reply.Code, "reason", reply.Message, "remote", r.RemoteAddr)
		if reply.Code == deskOK {
			log.Info("registered over HTTPS")
		} else {
			log.Warn("a registration over HTTPS was refused")
		}
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		_, _ = w.Write(mustJSON(reply)) //nolint:gosec // it is JSON and says so; the client may be gone
	})
	return mux
}

func (c *cloud) registerByForm(r *http.Request) (device.ID, deskReply) {
	if err := r.ParseForm(); err != nil {
		return device.ID{}, deskReply{Code: deskBadParams, Message: "the request is no form"}
	}
	id := device.ID{ProductKey: r.PostForm.Get("productKey"), DeviceName: r.PostForm.Get("deviceName")}
	random, sign := r.PostForm.Get("random"), r.PostForm.Get("sign")
	if err := id.Validate(); err != nil {
		return device.ID{}, deskReply{Code: deskBadParams, Message: err.Error()}
	}
	if random == "" || sign == "" || r.PostForm.Get("signMethod") == "" {
		return id, deskReply{Code: deskBadParams, Message: "random, sign or signMethod is missing"}
	}
	method, err := platform.ParseSignMethod(r.PostForm.Get("signMethod"))
	if err != nil {
		return id, deskReply{Code: deskSignMethod, Message: err.Error()}
	}
	secret, err := c.registerOverHTTPS(id, method, random, sign)
	if err != nil {
		return id, deskReply{Code: deskCode(err), Message: err.Error()}
	}
	return id, deskReply{
		Code: deskOK, Message: "success",
		Data: map[string]string{"productKey": id.ProductKey, "deviceName": id.DeviceName, "deviceSecret": secret.Reveal()},
	}
}

func (c *cloud) registerOverHTTPS(id device.ID, method platform.SignMethod, random, sign string) (device.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.admit(id, method, random, sign)
	if err != nil {
		return device.Secret{}, err
	}
	return p.deviceSecret(id.DeviceName)
}

func deskCode(err error) int {
	for known, code := range map[error]int{
		errNoProduct: deskNoProduct, errSwitchedOff: deskSwitchedOff, errSignature: deskBadSignature,
		errNoDevice: deskNoDevice, errActivated: deskActivated,
	} {
		if errors.Is(err, known) {
			return code
		}
	}
	return http.StatusInternalServerError
}

// serveHTTPS serves until ctx ends.
func (c *cloud) serveHTTPS(ctx context.Context, l net.Listener, ca *authority) error {
	server := &http.Server{
		Handler: c.registrationDesk(), TLSConfig: ca.tlsConfig(), ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		ReadTimeout: httpsTimeout, WriteTimeout: httpsTimeout, IdleTimeout: httpsTimeout,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	})
	err := server.ServeTLS(l, "", "")
	if stop() { // it ended by itself
		return err
	}
	<-stopped
	return nil
}
