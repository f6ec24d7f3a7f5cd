package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReply is the size of a registration's reply; real ones have a few hundred bytes.
const maxReply = 64 << 10

// object is a JSON object from the network, read strictly: encoding/json alone would take "DEVICESECRET" for "deviceSecret", and
// the second of two. Its errors never quote what was read, for it may be a secret.
type object map[string]json.RawMessage

func parseObject(data []byte) (object, error) {
	switch {
	case len(data) > maxReply:
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), maxReply)
	case !utf8.Valid(data), !json.Valid(data):
		return nil, errors.New("it is not JSON")
	}
	in := json.NewDecoder(bytes.NewReader(data))
	if start, err := in.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	o := object{}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, errors.New("it is not JSON")
		}
		name, _ := key.(string)
		if _, twice := o[name]; twice {
			return nil, errors.New("it has the same key twice")
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return nil, errors.New("it is not JSON")
		}
		o[name] = value
	}
	return o, nil
}

// text is a string of 1 to limit bytes, without control characters. An escape that stands for no character is refused too: the
// library puts U+FFFD in its place, and a secret would silently become another.
func (o object) text(key string, limit int) (string, error) {
	var s *string
	if value, found := o[key]; found {
		if err := json.Unmarshal(value, &s); err != nil {
			return "", fmt.Errorf("its %s is not a string", key)
		}
	}
	switch {
	case s == nil || *s == "":
		return "", fmt.Errorf("its %s is missing", key)
	case len(*s) > limit:
		return "", fmt.Errorf("its %s has %d bytes, more than %d", key, len(*s), limit)
	case strings.ContainsFunc(*s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return "", fmt.Errorf("its %s holds control characters or broken ones", key)
	}
	return *s, nil
}

// integer is a number; in a string it is one too, as the platform's documentation has both.
func (o object) integer(key string) (int, error) {
	value, found := o[key]
	if !found {
		return 0, fmt.Errorf("its %s is missing", key)
	}
	n, err := strconv.ParseInt(strings.Trim(string(value), `"`), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("its %s is not a number", key)
	}
	return int(n), nil
}
