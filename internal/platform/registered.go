package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Topics on which the platform sends a credential. The documentation says "/ext/register" for both ways; every SDK waits for
// the token on "/ext/regnwl".
const (
	topicRegister = "/ext/register"
	topicRegNwl   = "/ext/regnwl"
)

// Registered is the credential that a registration gave: a DeviceSecret, or a DeviceToken with its ClientID.
type Registered struct {
	DeviceSecret device.Secret
	ClientID     string
	DeviceToken  device.Secret
}

// ParseRegistrationReply reads a message that came after the CONNACK of a registration. It reports false, and no error, for a
// message on a topic that carries no credentials: wait for the next. Errors say why the credential in the message cannot be
// used, and never repeat the message, which may hold it.
func ParseRegistrationReply(r Registration, topic string, payload []byte) (Registered, bool, error) {
	if topic != topicRegister && topic != topicRegNwl {
		return Registered{}, false, nil
	}
	got, err := registered(r.ID, r.Method == RegistrationFree, payload)
	if err != nil {
		return Registered{}, true, fmt.Errorf("the platform's registration reply on %s cannot be used: %w; register again, or reset the device in the console", topic, err)
	}
	return got, true, nil
}

// registered reads the object that holds the credential.
func registered(id device.ID, token bool, payload []byte) (Registered, error) {
	object, err := parseObject(payload)
	if err != nil {
		return Registered{}, err
	}
	for _, name := range []struct{ key, want string }{{"productKey", id.ProductKey}, {"deviceName", id.DeviceName}} {
		switch got, err := object.text(name.key, maxReply); {
		case err != nil:
			return Registered{}, err
		case got != name.want:
			return Registered{}, fmt.Errorf("it is for another device: its %s is not the one that was asked for", name.key)
		}
	}
	if !token {
		secret, err := object.text("deviceSecret", MaxSecret)
		return Registered{DeviceSecret: device.NewSecret(secret)}, err
	}
	clientID, err := object.text("clientId", MaxTokenClientID)
	if err == nil && strings.Contains(clientID, "|") {
		err = errors.New(`its clientId holds a "|", which would break the login`)
	}
	if err != nil {
		return Registered{}, err
	}
	deviceToken, err := object.text("deviceToken", MaxDeviceToken)
	if err != nil {
		return Registered{}, err
	}
	return Registered{ClientID: clientID, DeviceToken: device.NewSecret(deviceToken)}, nil
}

// ParseHTTPSRegistrationReply reads the answer to HTTPSLegacy: its HTTP status and body. The platform refuses by a code in the
// body, which is a *RegistrationRefusedError; other errors mean that the answer is not to be understood, and never repeat it.
func ParseHTTPSRegistrationReply(id device.ID, status int, body []byte) (Registered, error) {
	const ok = 200
	object, err := parseObject(body)
	code := 0
	if err == nil {
		code, err = object.integer("code")
	}
	if err != nil {
		return Registered{}, fmt.Errorf("the registration server's answer (HTTP status %d) cannot be used: %w; check the endpoint, and proxies on the way", status, err)
	}
	if code != ok {
		var message string
		_ = json.Unmarshal(object["message"], &message) // a refusal without words is one all the same
		return Registered{}, &RegistrationRefusedError{Code: code, Message: message}
	}
	if status != ok {
		return Registered{}, fmt.Errorf("the registration server answered HTTP status %d around the platform's code 200; check the endpoint, and proxies on the way", status)
	}
	got, err := registered(id, false, object["data"])
	if err != nil {
		return Registered{}, fmt.Errorf("the data in the registration server's answer cannot be used: %w; register again, or reset the device in the console", err)
	}
	return got, nil
}
