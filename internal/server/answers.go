package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Answers calls the server over its own socket, as an app would, and tells why it gets no answer. A refusal is one: a program that
// runs wild under our user must not make us look dead.
func (s *Server) Answers(ctx context.Context) error {
	if s.mutual {
		return s.shakesHands(ctx)
	}
	creds := insecure.NewCredentials()
	if s.certificate != nil {
		creds = credentials.NewTLS(s.toItself())
	}
	client, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if !s.token.IsZero() {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.token.Reveal())
	}
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.OK:
		if answer.GetStatus() != serving {
			return fmt.Errorf("%s answers %s", s.address, answer.GetStatus())
		}
		return nil
	case codes.ResourceExhausted:
		return nil
	default:
		return fmt.Errorf("%s does not answer: %w", s.address, err)
	}
}

// shakesHands is as far as one comes whose callers need certificates: we have none that would let us in.
func (s *Server) shakesHands(ctx context.Context) error {
	select {
	case <-s.stopping:
		return fmt.Errorf("%s is stopping", s.address)
	default:
	}
	c, err := (&tls.Dialer{Config: s.toItself()}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", s.address, err)
	}
	return c.Close()
}

var errStranger = errors.New("it shows another certificate than ours")

// toItself trusts the server's own certificate and nothing else, whatever names it has.
func (s *Server) toItself() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		InsecureSkipVerify: true, //nolint:gosec // it must be the very certificate, see below
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !state.PeerCertificates[0].Equal(s.certificate) {
				return errStranger
			}
			return nil
		},
	}
}
