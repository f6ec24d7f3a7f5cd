package platform

import (
	"fmt"
	"net/url"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// RegistrationMethod is one of the platform's ways of dynamic registration: one product, one secret.
type RegistrationMethod int

// The ways to register. All need the product's switch "dynamic registration" to be on.
const (
	// PreRegistered is over MQTT. The device was created beforehand and has never logged in; it gets a device secret.
	PreRegistered RegistrationMethod = iota + 1
	// RegistrationFree is over MQTT. The device is created by it, and gets a device token with a client id.
	RegistrationFree
	// HTTPSLegacy is over HTTPS, as older SDKs do it; otherwise like PreRegistered.
	HTTPSLegacy
)

// String is the method's name in the API, such as "PRE_REGISTERED".
func (m RegistrationMethod) String() string {
	switch m {
	case PreRegistered:
		return "PRE_REGISTERED"
	case RegistrationFree:
		return "REGISTRATION_FREE"
	case HTTPSLegacy:
		return "HTTPS_LEGACY"
	}
	return fmt.Sprintf("RegistrationMethod(%d)", int(m))
}

// Registration is all that one registration needs to know.
type Registration struct {
	ID            device.ID
	Method        RegistrationMethod
	ProductSecret device.Secret // 1 to MaxSecret characters
	SignMethod    SignMethod    // "" is DefaultSignMethod
	Endpoint      Endpoint
	Random        string // letters and digits, different each time; Validate does not look at it
}

// Validate tells what the platform is known to refuse. Errors are *FieldError, or wrap device.ErrInvalidID. Where an endpoint
// is one's own, the platform's rules about regions do not hold.
func (r Registration) Validate() error {
	if err := r.ID.Validate(); err != nil {
		return err
	}
	switch secret := r.ProductSecret.Reveal(); {
	case r.Method < PreRegistered || r.Method > HTTPSLegacy:
		return &FieldError{"method", "must be PRE_REGISTERED, REGISTRATION_FREE or HTTPS_LEGACY"}
	case secret == "":
		return &FieldError{"product_secret", "is missing: the console shows it on the product's page"}
	case len(secret) > MaxSecret:
		return &FieldError{"product_secret", fmt.Sprintf("has %d characters; the platform's have at most %d", len(secret), MaxSecret)}
	case r.SignMethod.orDefault().hash() == nil:
		return &FieldError{"sign_method", fmt.Sprintf("%.32q must be hmacmd5, hmacsha1 or hmacsha256", r.SignMethod)}
	}
	if err := r.Endpoint.Validate(); err != nil || r.Endpoint.Custom() {
		return err
	}
	switch r.Method {
	case RegistrationFree:
		return r.validateRegistrationFree()
	case HTTPSLegacy:
		return r.validateHTTPSLegacy()
	case PreRegistered: // is offered everywhere
	}
	return nil
}

// validateRegistrationFree lets instances pass: their region is not in their id.
func (r Registration) validateRegistrationFree() error {
	switch region := r.Endpoint.region(); region {
	case "", "cn-shanghai", "cn-beijing":
		return nil
	default:
		return &FieldError{"endpoint.region", "the platform offers REGISTRATION_FREE only in cn-shanghai and cn-beijing, not in " + region +
			": create the device in the console and use PRE_REGISTERED"}
	}
}

func (r Registration) validateHTTPSLegacy() error {
	switch e := r.Endpoint; {
	case e.InstanceID != "":
		return &FieldError{"endpoint.instance_id", "HTTPS_LEGACY exists for the old public instance only and cannot name another: use PRE_REGISTERED"}
	case e.region() != "cn-shanghai":
		return &FieldError{"endpoint.region", "the platform offers HTTPS_LEGACY only in cn-shanghai, not in " + e.Region + ": use PRE_REGISTERED"}
	case e.Port != 0 && e.Port != httpsPort:
		return &FieldError{"endpoint.port", fmt.Sprintf("%d: HTTPS_LEGACY uses port %d of the platform; leave it out", e.Port, httpsPort)}
	}
	return nil
}

// Login is the CONNECT of a registration over MQTT. It is no login: after CONNACK the platform sends the credential, see
// ParseRegistrationReply, and closes the connection after RegistrationWindow.
func (r Registration) Login() Login {
	authType, mode := "register", secureModeTLS
	if r.Method == RegistrationFree {
		authType = "regnwl"
	}
	if r.Endpoint.InstanceID != "" {
		mode = secureModeToken
	}
	c := ClientID{Base: base(r.ID.DeviceName+"."+r.ID.ProductKey, r.ID)}
	c.add("random", r.Random)
	c.add("authType", authType)
	c.add("securemode", mode)
	c.add("signmethod", string(r.SignMethod.orDefault()))
	c.add("instanceId", r.Endpoint.InstanceID)
	return Login{ClientID: c.String(), Username: username(r.ID), Password: device.NewSecret(r.sign())}
}

// Form is the body of the POST request of HTTPSLegacy.
func (r Registration) Form() url.Values {
	return url.Values{
		"productKey": {r.ID.ProductKey},
		"deviceName": {r.ID.DeviceName},
		"random":     {r.Random},
		"sign":       {r.sign()},
		"signMethod": {string(r.SignMethod.orDefault())},
	}
}

func (r Registration) sign() string {
	return r.SignMethod.orDefault().Sign(r.ProductSecret, RegistrationContent(r.ID, r.Random))
}
