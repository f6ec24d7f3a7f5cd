package platform

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // one of the platform's three methods, and an HMAC at that; the default is HMAC-SHA256
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// SignMethod is the HMAC that signs a login or a registration. Its text is the value of "signmethod" on the wire.
type SignMethod string

// The methods that the platform knows.
const (
	HMACMD5    SignMethod = "hmacmd5"
	HMACSHA1   SignMethod = "hmacsha1"
	HMACSHA256 SignMethod = "hmacsha256"
)

// DefaultSignMethod is the strongest. (A login that names no method at all is taken by the platform for hmacmd5.)
const DefaultSignMethod = HMACSHA256

// ParseSignMethod reads a method's name in any case: the platform's own documentation writes both "hmacmd5" and "HmacMD5".
func ParseSignMethod(s string) (SignMethod, error) {
	m := SignMethod(strings.ToLower(s))
	if m.hash() == nil {
		return "", &FieldError{"sign_method", fmt.Sprintf("%.32q must be hmacmd5, hmacsha1 or hmacsha256", s)}
	}
	return m, nil
}

// Sign is the HMAC of content in lower-case hexadecimal. A method that is none of the three signs nothing: "".
func (m SignMethod) Sign(key device.Secret, content string) string {
	return hex.EncodeToString(m.sum(key, content))
}

// Verify reports whether signature, in hexadecimal of either case, is that of content. It takes the same time wherever they differ.
func (m SignMethod) Verify(key device.Secret, content, signature string) bool {
	got, err := hex.DecodeString(signature)
	return err == nil && m.hash() != nil && hmac.Equal(got, m.sum(key, content))
}

func (m SignMethod) sum(key device.Secret, content string) []byte {
	newHash := m.hash()
	if newHash == nil {
		return nil
	}
	mac := hmac.New(newHash, []byte(key.Reveal()))
	mac.Write([]byte(content))
	return mac.Sum(nil)
}

func (m SignMethod) hash() func() hash.Hash {
	switch m {
	case HMACMD5:
		return md5.New
	case HMACSHA1:
		return sha1.New
	case HMACSHA256:
		return sha256.New
	}
	return nil
}

func (m SignMethod) orDefault() SignMethod {
	if m == "" {
		return DefaultSignMethod
	}
	return m
}

// LoginContent is what a device signs to log in. The base is the client id up to its first "|". An empty timestamp is left out,
// as it then is in the client id.
func LoginContent(clientIDBase string, id device.ID, timestamp string) string {
	content := "clientId" + clientIDBase + "deviceName" + id.DeviceName + "productKey" + id.ProductKey
	if timestamp != "" {
		content += "timestamp" + timestamp
	}
	return content
}

// RegistrationContent is what a device signs, with its product's secret, to register.
func RegistrationContent(id device.ID, random string) string {
	return "deviceName" + id.DeviceName + "productKey" + id.ProductKey + "random" + random
}
