package platform

import "fmt"

// RegistrationRefusedError is a refusal of HTTPSLegacy.
type RegistrationRefusedError struct {
	Code    int    // the platform's, such as 6288; never 200
	Message string // the platform's words; may be empty
}

func (e *RegistrationRefusedError) Error() string {
	r := refusals[e.Code]
	if r.meaning == "" {
		r = refusal{"the code is not a documented one", "look it up in the platform's documentation"}
	}
	said := ""
	if e.Message != "" {
		said = fmt.Sprintf(" (%.200q)", e.Message)
	}
	return fmt.Sprintf("the platform refused the registration with code %d%s: %s; %s", e.Code, said, r.meaning, r.advice)
}

// Advice says what to do about the refusal; "" for a code that is not documented.
func (e *RegistrationRefusedError) Advice() string { return refusals[e.Code].advice }

type refusal struct{ meaning, advice string }

var refusals = map[int]refusal{
	460:  {"a parameter is missing or malformed", "check product key and device name"},
	500:  {"the platform failed", "register again later"},
	6250: {"there is no such product", "check the product key, and that its region is the endpoint's"},
	6288: {"the product's dynamic registration is switched off", "switch it on in the console"},
	6289: {"the device is already activated", "use the device secret that it has, or reset the device in the console"},
	6292: {"the platform does not know the sign method", "use hmacsha256, hmacsha1 or hmacmd5"},
	6600: {"the signature is wrong", "check the product's secret"},
}
