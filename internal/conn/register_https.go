package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// maxRegistrationReply is more than any reply has; real ones have a few hundred bytes.
const maxRegistrationReply = 64 << 10

// obtainHTTPS registers as older SDKs do. The connection is made by the same dialer as a link's, so it is trusted alike and fails
// alike.
func (env *environment) obtainHTTPS(ctx context.Context, r RegisterRequest) (platform.Registered, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(), strings.NewReader(r.Registration.Form().Encode()))
	if err != nil {
		return platform.Registered{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				conn, _, err := env.dialer.dial(ctx, r.httpsTarget(address), r.Registration.ID)
				return conn, err
			},
		},
		// The signature is for the platform alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return platform.Registered{}, httpsFailure(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRegistrationReply+1))
	if err != nil {
		return platform.Registered{}, httpsFailure(err)
	}
	got, err := platform.ParseHTTPSRegistrationReply(r.Registration.ID, response.StatusCode, body)
	if _, refused := errors.AsType[*platform.RegistrationRefusedError](err); refused {
		return platform.Registered{}, err
	}
	return got, unusable(err)
}

// httpsTarget is the registration's target with the server that the URL names.
func (r RegisterRequest) httpsTarget(address string) Target {
	t := r.Target
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	t.Endpoint = platform.Endpoint{Host: host, Port: number}
	return t
}

// httpsFailure says why there was no reply. A dialler's failure came before the request was sent.
func httpsFailure(err error) error {
	if f, ours := errors.AsType[*Failure](err); ours {
		return f
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err // the URL says nothing new
	}
	f := streamFailure(err)
	f.Registering, f.mayHaveRegistered = true, true
	f.Detail = "the registration was sent and no reply came: " + f.Detail
	if errors.Is(err, context.DeadlineExceeded) {
		f.Cause = event.CauseRegistrationNoReply
	}
	return f
}
