package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// Why a registration is refused. Over MQTT all of them are CONNACK 4; over HTTPS each has a code of its own.
var (
	errNoProduct     = errors.New("there is no such product")
	errSwitchedOff   = errors.New("the product's dynamic registration is switched off")
	errSignature     = errors.New("the signature with the product's secret is wrong")
	errNoDevice      = errors.New("the device was not created beforehand")
	errActivated     = errors.New("the device is already activated")
	errTooManyTokens = fmt.Errorf("the device name has its %d device tokens already", maxTokens)
)

// admit checks what all ways of registration have in common. c.mu must be held.
func (c *cloud) admit(id device.ID, method platform.SignMethod, random, signature string) (*product, error) {
	p := c.products[id.ProductKey]
	switch {
	case p == nil:
		return nil, errNoProduct
	case !p.dynamic:
		return nil, errSwitchedOff
	case !method.Verify(p.secret, platform.RegistrationContent(id, random), signature):
		return nil, errSignature
	}
	return p, nil
}

// deviceSecret gives a device that was created beforehand its secret. Until the device is activated it gets the same each time.
func (p *product) deviceSecret(name string) (device.Secret, error) {
	t := p.devices[name]
	switch {
	case t == nil:
		return device.Secret{}, errNoDevice
	case t.activated:
		return device.Secret{}, errActivated
	case t.secret.IsZero():
		t.secret = newDeviceSecret()
	}
	return t.secret, nil
}

// deviceToken gives one more physical device of that name a token of its own, and creates the name when it is new.
func (p *product) deviceToken(name string) (token, error) {
	t := p.devices[name]
	if t == nil {
		t = &thing{id: device.ID{ProductKey: p.key, DeviceName: name}}
		p.devices[name] = t
	}
	switch {
	case t.activated && !t.secret.IsZero():
		return token{}, errActivated // by a device that has a secret, and shares its name with nobody
	case len(t.tokens) >= maxTokens:
		return token{}, errTooManyTokens
	}
	// The shape of real ones, as far as it was ever seen.
	given := token{
		clientID: randomText(alphanumeric, 20) + "000100",
		secret:   device.NewSecret("^1^" + strconv.FormatInt(time.Now().UnixMilli(), 10) + "^" + randomText(hexadecimal, 15)),
	}
	t.tokens = append(t.tokens, given)
	return given, nil
}

// register answers a registration over MQTT. c.mu must be held.
func (c *cloud) register(who claim) verdict {
	p, err := c.admit(who.id, who.method, who.clientID.Get("random"), who.password.Reveal())
	if err != nil {
		return refuse(codeBadCredentials, "%v", err)
	}
	if t := p.devices[who.id.DeviceName]; t != nil && t.disabled {
		return refuse(codeNotAuthorised, "the device is disabled")
	}
	reply := map[string]string{"productKey": who.id.ProductKey, "deviceName": who.id.DeviceName}
	v := verdict{push: message{topic: "/ext/" + string(who.purpose)}}
	if who.purpose == forToken {
		given, err := p.deviceToken(who.id.DeviceName)
		if err != nil {
			return refuse(codeBadCredentials, "%v", err)
		}
		reply["clientId"], reply["deviceToken"] = given.clientID, given.secret.Reveal()
		v.reason = "registered; a device token was sent"
	} else {
		secret, err := p.deviceSecret(who.id.DeviceName)
		if err != nil {
			return refuse(codeBadCredentials, "%v", err)
		}
		reply["deviceSecret"] = secret.Reveal()
		v.reason = "registered; the device secret was sent"
	}
	v.push.payload = mustJSON(reply)
	return v
}

// mustJSON is for values that cannot fail to be JSON.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
