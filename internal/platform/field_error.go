package platform

// FieldError says which input breaks a rule, and which rule. Every input rule of this package is told by a *FieldError.
type FieldError struct {
	// Field is the path of the field in a request, such as "endpoint.region" or "network_interfaces[0].wifi.mac".
	Field string
	// Problem says what is wrong and what would be right. It reads on from the field's name.
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }
