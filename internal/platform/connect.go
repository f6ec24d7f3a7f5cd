package platform

import "github.com/linkkit-sidecar/linkkit-sidecar/internal/device"

// Values of the parameter "securemode".
const (
	secureModeTLS   = "2"
	secureModeTCP   = "3"
	secureModeToken = "-2" // also: the instance is named in the client id
)

// language is what we tell the platform that our SDK is written in.
const language = "Go"

// Login is what a device puts into MQTT's CONNECT.
type Login struct {
	ClientID string
	Username string
	Password device.Secret
}

// LoginOptions are what a login may vary. The zero value is a login over TLS, signed by DefaultSignMethod, without a timestamp.
type LoginOptions struct {
	// SignMethod signs a SecretLogin; "" is DefaultSignMethod.
	SignMethod SignMethod
	// PlainTCP says that there is no TLS. A TokenLogin is the same either way.
	PlainTCP bool
	// Timestamp is a decimal, by documentation in milliseconds since 1970, that is signed with a SecretLogin. "" leaves it out.
	Timestamp string
	// InterfaceInfo describes the network interfaces, as the function InterfaceInfo renders it. "" leaves it out.
	InterfaceInfo string
	// Version is our own. "" leaves it out.
	Version string
}

// SecretLogin is the login of a device that has a device secret.
//
// The base of its client id is that of the vendor's Python SDK, so the same device, method and timestamp give the same password.
func SecretLogin(id device.ID, secret device.Secret, o LoginOptions) Login {
	method, mode := o.SignMethod.orDefault(), secureModeTLS
	if o.PlainTCP {
		mode = secureModeTCP
	}
	c := ClientID{Base: base(id.ProductKey+"&"+id.DeviceName, id)}
	c.add("securemode", mode)
	c.add("signmethod", string(method))
	c.add("ext", "1") // bit 0: the device takes RRPC on custom topics
	c.add("_ss", "1") // the platform subscribes the system topics by itself
	c.add("lan", language)
	c.add("_v", o.Version)
	c.add("sii", o.InterfaceInfo)
	c.add("timestamp", o.Timestamp)
	signature := method.Sign(secret, LoginContent(c.Base, id, o.Timestamp))
	return Login{ClientID: c.String(), Username: username(id), Password: device.NewSecret(signature)}
}

// TokenLogin is the login of a device that has a device token, with the client id that was given out together with it.
func TokenLogin(id device.ID, clientID string, token device.Secret, o LoginOptions) Login {
	c := ClientID{Base: clientID}
	c.add("authType", "connwl")
	c.add("securemode", secureModeToken)
	c.add("_ss", "1")
	c.add("ext", "3") // as both vendor SDKs that know this login; bit 1 is undocumented
	c.add("lan", language)
	c.add("_v", o.Version)
	c.add("sii", o.InterfaceInfo)
	return Login{ClientID: c.String(), Username: username(id), Password: token}
}

// add appends a parameter unless its value is empty.
func (c *ClientID) add(key, value string) {
	if value != "" {
		c.Params = append(c.Params, Param{key, value})
	}
}

// base is the usual base of a client id, unless it is longer than the platform takes: then the device's name alone, which never
// is. The base need not be unique: the platform tells devices apart by the user name.
func base(usual string, id device.ID) string {
	if len(usual) > MaxClientIDBase {
		return id.DeviceName
	}
	return usual
}
