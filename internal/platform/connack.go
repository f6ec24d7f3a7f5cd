package platform

// ConnackMeaning says in words what a CONNACK code of MQTT 3.1.1 means on this platform. Meaning and Advice are clauses, to be put
// into a sentence.
type ConnackMeaning struct {
	Code byte
	// Name is MQTT's own.
	Name string
	// Meaning says what the platform means by it.
	Meaning string
	// Advice says what to do about it; "" for code 0.
	Advice string
}

var loginCodes = []ConnackMeaning{
	{0, "accepted", "the device is online", ""},
	{
		1, "unacceptable protocol version", "the server does not speak this version of MQTT",
		"use MQTT 3.1.1",
	},
	{
		2, "identifier rejected", "the client id is malformed, or the keep alive is outside 30 to 1200 seconds",
		"check a ready-made client id, and mqtt.keep_alive",
	},
	{
		3, "server unavailable", "the platform is overloaded or in maintenance, or this device logs in more than 5 times a minute",
		"wait; the sidecar tries again by itself",
	},
	{
		4, "bad user name or password", "the signature or token is wrong, or there is no such product or device on this server",
		"check product key, device name and secret against the console, and that the region or instance is the device's own",
	},
	{
		5, "not authorized", "the device is disabled, or its instance does not permit plain TCP",
		"enable the device in the console, or connect by TLS",
	},
}

var registrationCodes = []ConnackMeaning{
	{0, "accepted", "the platform sends the credential next", ""},
	{
		1, "unacceptable protocol version", "the server does not speak this version of MQTT",
		"use MQTT 3.1.1",
	},
	{
		2, "identifier rejected", "a parameter of the registration is missing or malformed, or the connection is plain TCP",
		"register by TLS, on an endpoint that does dynamic registration",
	},
	{
		3, "server unavailable", "the platform failed or is overloaded; nothing was registered",
		"register again later",
	},
	{
		4, "bad user name or password", "the product's secret is wrong, or the device is already activated, or it was not created " +
			"beforehand, or the product's dynamic registration is switched off",
		"check product key and secret, the switch and the device in the console; an activated device must be reset there first",
	},
	{
		5, "not authorized", "the platform does not let this product or device register here",
		"check the product's dynamic registration and the instance in the console",
	},
}

// Connack tells what a CONNACK code means for a login or, when registering, for a registration.
func Connack(code byte, registering bool) ConnackMeaning {
	codes := loginCodes
	if registering {
		codes = registrationCodes
	}
	if int(code) < len(codes) {
		return codes[code]
	}
	return ConnackMeaning{
		code, "unknown", "MQTT 3.1.1 does not define this code",
		"check that the endpoint is a server of the platform that speaks MQTT 3.1.1",
	}
}
