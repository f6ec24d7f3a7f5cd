package event

// Cause says why a link is not up. The numbers and meanings are those of linkkit_sidecar.v1.Cause: they are stored and sent,
// so one, once given out, keeps its meaning.
type Cause int

// The causes, in the order of the life of a connection.
const (
	CauseNone Cause = iota
	CauseDNS
	CauseDialRefused
	CauseDialTimeout
	CauseTLSUntrusted
	CauseTLSNameMismatch
	CauseTLSExpired
	CauseTLSOther
	CauseConnackProtocolVersion
	CauseConnackIdentifier
	CauseConnackServerUnavailable
	CauseConnackBadCredentials
	CauseConnackNotAuthorized
	CauseConnackOther
	CauseConnackTimeout
	CauseProtocolViolation
	CauseKeepaliveTimeout
	CauseWriteTimeout
	CauseClosedByServer
	CauseTakeoverSuspected
	CauseNetwork
	CauseRequested
	CauseShutdown
	CauseNoCredential
	CauseStorage
	CauseRegistrationRefused
	CauseRegistrationNoReply
	CauseAckTimeout
)

// KnownCauses is how many there are.
const KnownCauses = len(causeNames)

var causeNames = [...]string{
	"none", "dns", "dial refused", "dial timeout", "tls untrusted", "tls name mismatch", "tls expired", "tls failed",
	"protocol version refused", "client id refused", "server unavailable", "bad credentials", "not authorized", "refused",
	"no connack", "protocol violation", "keepalive timeout", "write timeout", "closed by server", "takeover suspected",
	"network", "requested", "shutdown", "no credential", "storage", "registration refused", "no registration reply", "ack timeout",
}

// String names the cause for people and logs.
func (c Cause) String() string {
	if c < 0 || int(c) >= len(causeNames) {
		return "unknown cause"
	}
	return causeNames[c]
}

// CauseOfConnack is the cause that a CONNACK code other than 0 stands for (MQTT 3.1.1, 3.2.2.3).
func CauseOfConnack(code byte) Cause {
	if code >= 1 && code <= 5 {
		return CauseConnackProtocolVersion + Cause(code) - 1
	}
	return CauseConnackOther
}
