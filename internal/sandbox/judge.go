package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// purpose is what a CONNECT is for. Its text is the parameter authType.
type purpose string

const (
	forLogin        purpose = ""         // with a device secret
	forTokenLogin   purpose = "connwl"   // with a device token
	forRegistration purpose = "register" // to get a device secret
	forToken        purpose = "regnwl"   // to be created, and get a device token
)

func (p purpose) registers() bool { return p == forRegistration || p == forToken }

// verdict is what the platform makes of a CONNECT.
type verdict struct {
	code    byte // of CONNACK
	reason  string
	purpose purpose
	id      device.ID
	// autoSubscribe: the client id says _ss=1.
	autoSubscribe bool
	// customCalls: bit 0 of the client id's ext says that the device takes RRPC on custom topics.
	customCalls bool
	// push is the credential that follows the CONNACK of a registration.
	push message
}

func refuse(code byte, format string, args ...any) verdict {
	return verdict{code: code, reason: fmt.Sprintf(format, args...)}
}

// The CONNACK codes, by what this platform means with them.
const (
	codeAccepted       = 0
	codeProtocol       = 1
	codeIdentifier     = 2
	codeUnavailable    = 3
	codeBadCredentials = 4
	codeNotAuthorised  = 5
)

// claim is a CONNECT whose form is right and whose content remains to be proven.
type claim struct {
	id       device.ID
	purpose  purpose
	clientID platform.ClientID
	method   platform.SignMethod
	password device.Secret
	tls      bool
	doubt    string // what a strict platform refuses and a lenient one takes; "" for nothing
}

// judge checks a CONNECT in the order in which the platform does. The first check that fails decides the code.
func (c *cloud) judge(in connect, tls bool) verdict {
	if !in.supported() {
		return refuse(codeProtocol, "protocol %.16q level %d: only MQTT 3.1 and 3.1.1 are spoken here", in.protocol, in.level)
	}
	who, bad := c.read(in, tls)
	if bad.code != codeAccepted {
		return bad
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.prove(who)
	v.id, v.purpose = who.id, who.purpose
	v.autoSubscribe = who.clientID.Get("_ss") == "1"
	ext, err := strconv.ParseUint(who.clientID.Get("ext"), 10, 64)
	v.customCalls = err == nil && ext&1 != 0
	if v.code == codeAccepted && who.doubt != "" {
		v.reason += "; doubtful: " + who.doubt
	}
	return v
}

// read checks the form of a CONNECT.
func (c *cloud) read(in connect, tls bool) (claim, verdict) {
	clientID, err := platform.ParseClientID(in.clientID)
	if err != nil {
		return claim{}, refuse(codeIdentifier, "%v", err)
	}
	who := claim{clientID: clientID, purpose: purpose(clientID.Get("authType")), password: in.password, tls: tls}
	if v := who.readParams(); v.code != codeAccepted {
		return claim{}, v
	}
	if who.id, err = platform.ParseUsername(in.username); err != nil {
		return claim{}, refuse(codeBadCredentials, "%v", err)
	}
	seconds := int(in.keepAlive / time.Second)
	switch {
	case who.purpose.registers(): // the platform does not look at its keep alive
		if !tls {
			return claim{}, refuse(codeIdentifier, "a registration must come over TLS")
		}
	case seconds < platform.MinKeepAlive, seconds > platform.MaxKeepAlive:
		return claim{}, refuse(codeIdentifier, "the keep alive of %d s is outside %d to %d s", seconds, platform.MinKeepAlive, platform.MaxKeepAlive)
	}
	if c.options.Strict && who.doubt != "" {
		return claim{}, refuse(codeBadCredentials, "%s (a strict sandbox refuses that)", who.doubt)
	}
	return who, verdict{}
}

// readParams checks the client id.
func (who *claim) readParams() verdict {
	params := who.clientID
	if len(params.Base) > platform.MaxClientIDBase {
		return refuse(codeIdentifier, "the client id has %d bytes before its parameters; the platform takes %d", len(params.Base), platform.MaxClientIDBase)
	}
	mode := params.Get("securemode")
	if mode == "" {
		return refuse(codeIdentifier, "the client id lacks the parameter securemode")
	}
	method := params.Get("signmethod")
	if method == "" {
		method = string(platform.HMACMD5) // as documented
	}
	var err error
	if who.method, err = platform.ParseSignMethod(method); err != nil {
		return refuse(codeIdentifier, "signmethod %.32q is none of hmacmd5, hmacsha1 and hmacsha256", method)
	}
	transport := "3"
	if who.tls {
		transport = "2"
	}
	switch who.purpose {
	case forLogin:
		switch {
		case mode != "2" && mode != "3":
			return refuse(codeIdentifier, "securemode=%.16s is not one of a login with a device secret: 2 over TLS, 3 over plain TCP", mode)
		case mode != transport:
			who.doubt = fmt.Sprintf("securemode=%s does not fit the connection, which would be securemode=%s", mode, transport)
		}
	case forTokenLogin:
		if mode != "-2" {
			who.doubt = fmt.Sprintf("securemode=%.16s is not the -2 of a login with a device token", mode)
		}
	case forRegistration, forToken:
		switch {
		case mode != "2" && mode != "-2":
			return refuse(codeIdentifier, "securemode=%.16s is not one of a registration: 2 or -2", mode)
		case params.Get("random") == "":
			return refuse(codeIdentifier, "the client id lacks the parameter random, which a registration must have")
		}
	default:
		return refuse(codeIdentifier, "authType=%.32q is not known here", string(who.purpose))
	}
	return verdict{}
}

// prove checks the content of a claim. c.mu must be held.
func (c *cloud) prove(who claim) verdict {
	if who.purpose.registers() {
		return c.register(who)
	}
	t := c.find(who.id)
	switch {
	case t == nil && c.products[who.id.ProductKey] == nil:
		return refuse(codeBadCredentials, "there is no product %s", who.id.ProductKey)
	case t == nil:
		return refuse(codeBadCredentials, "there is no device %s", who.id)
	case !t.mayConnect(time.Now(), c.options.ConnectsPerMinute):
		return refuse(codeUnavailable, "more than %d logins within a minute", c.options.ConnectsPerMinute)
	case t.disabled:
		return refuse(codeNotAuthorised, "the device is disabled")
	}
	v := t.checkPassword(who)
	if v.code == codeAccepted && !who.tls && c.options.RefusePlainTCP {
		return refuse(codeNotAuthorised, "plain TCP is not permitted")
	}
	return v
}

// mayConnect counts a login, and tells whether it keeps to the limit in any 60 seconds. Logins beyond it do not count, so that a
// device that goes on trying is let in again.
func (t *thing) mayConnect(now time.Time, limit int) bool {
	if limit < 0 {
		return true
	}
	t.recent = slices.DeleteFunc(t.recent, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	if len(t.recent) >= limit {
		return false
	}
	t.recent = append(t.recent, now)
	return true
}

func (t *thing) checkPassword(who claim) verdict {
	if who.purpose == forTokenLogin {
		for _, known := range t.tokens {
			if known.clientID == who.clientID.Base && known.secret.Equal(who.password) {
				return verdict{reason: "logged in with a device token"}
			}
		}
		return refuse(codeBadCredentials, "the device token is wrong, or belongs to another client id")
	}
	content := platform.LoginContent(who.clientID.Base, t.id, who.clientID.Get("timestamp"))
	switch {
	case t.secret.IsZero():
		return refuse(codeBadCredentials, "the device has no secret yet: it must register first")
	case !who.method.Verify(t.secret, content, who.password.Reveal()):
		return refuse(codeBadCredentials, "the signature by %s is wrong", who.method)
	}
	return verdict{reason: "logged in with the device secret, signed by " + strings.ToLower(string(who.method))}
}
