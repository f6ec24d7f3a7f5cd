package config

import (
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Policy says which callers may do what with which devices, and on which topics. What no rule permits is refused.
type Policy struct{ Rules []Rule }

// Rule is one line of a policy. What its words mean is for the server to say.
type Rule struct {
	At         string // FILE:LINE, for errors
	Callers    []string
	Operations []string
	Devices    []string
	Topics     []string
}

// Limits bound what one caller may ask at once. 0 is the server's default, below 0 is no limit.
type Limits struct {
	RequestsPerSecond  float64
	Streams            int
	CallsPerConnection int
	MessageBytes       int
}

func (f *File) policy(path string, n *yaml.Node) error {
	f.Policy = &Policy{}
	return f.each(n, path, func(path string, n *yaml.Node) error {
		r := Rule{At: f.at(n)}
		if err := f.object(n, path, fields{
			"callers":    values(f, &r.Callers, text),
			"operations": values(f, &r.Operations, text),
			"devices":    values(f, &r.Devices, text),
			"topics":     values(f, &r.Topics, text),
		}); err != nil {
			return err
		}
		f.Policy.Rules = append(f.Policy.Rules, r)
		return nil
	})
}

func (f *File) limits(path string, n *yaml.Node) error {
	return f.object(n, path, fields{
		"requests_per_second":  value(f, &f.Limits.RequestsPerSecond, rate),
		"streams":              value(f, &f.Limits.Streams, whole(-1, math.MaxInt32)),
		"calls_per_connection": value(f, &f.Limits.CallsPerConnection, whole(1, math.MaxInt32)),
		"message_bytes":        value(f, &f.Limits.MessageBytes, whole(1024, 1<<30)),
	})
}

func rate(s string) (float64, error) {
	r, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(r) || math.IsInf(r, 0) || r != -1 && r <= 0 {
		return 0, fmt.Errorf("%q must be a number above 0, or -1 for no limit", s)
	}
	return r, nil
}
