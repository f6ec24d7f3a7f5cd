package cli

import (
	"context"
	"errors"
)

// Exit codes. Scripts rely on them; help.go tells them to people.
const (
	exitOK          = 0
	exitFailed      = 1   // the operation failed
	exitUsage       = 2   // wrong flags or configuration, or a start-up that was refused
	exitUnreachable = 3   // no sidecar answers
	exitRefused     = 4   // the platform refused the device
	exitTimeout     = 5   // the deadline passed
	exitInterrupted = 130 // SIGINT or SIGTERM ended the command before its end
)

// exitError is an error with the exit code that it ends the process with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// usage is an error in what the user gave, or a refusal to start.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// exitCode of what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
