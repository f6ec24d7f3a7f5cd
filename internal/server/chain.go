package server

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// chain is what each call goes through, outermost first:
//
//	identify   who calls, since all that follows names the caller; it refuses nobody
//	metrics    outside of whatever can end a call, so that refusals, bad requests and panics are counted too
//	logging    one line when a call has ended, with the code that the caller sees
//	answer     makes the one gRPC status of an error, for the two above to see
//	recovery   inside of answer: a panic is an error like another
//	admit      token, rate, streams, policy: before any work is done for the caller
//	validate   last, the rules of the contract; what comes through is well formed
func (s *Server) chain() ([]grpc.ServerOption, error) {
	if _, err := contract(); err != nil {
		return nil, err
	}
	log, recovers := logging.LoggerFunc(s.logCall), recovery.WithRecoveryHandlerContext(recovered)
	unary := []grpc.UnaryServerInterceptor{s.identifyUnary}
	stream := []grpc.StreamServerInterceptor{s.identifyStream}
	if s.metrics != nil {
		unary, stream = append(unary, s.metrics.UnaryServerInterceptor()), append(stream, s.metrics.StreamServerInterceptor())
	}
	unary = append(unary, s.logSparsely(logging.UnaryServerInterceptor(log, logOptions...)), s.answerUnary,
		recovery.UnaryServerInterceptor(recovers), s.admitUnary, validateUnary)
	stream = append(stream, logging.StreamServerInterceptor(log, logOptions...), s.answerStream,
		recovery.StreamServerInterceptor(recovers), s.admitStream, validateStream)
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...)}, nil
}

// identity is what identify found out.
type identity struct {
	caller Caller
	err    error
}

func (s *Server) identify(ctx context.Context) context.Context {
	caller, err := identify(ctx, s.token)
	return context.WithValue(ctx, callerKey{}, identity{caller, err})
}

func (s *Server) identifyUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	return next(s.identify(ctx), req)
}

func (s *Server) identifyStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	wrapped := middleware.WrapServerStream(stream)
	wrapped.WrappedContext = s.identify(stream.Context())
	return next(srv, wrapped)
}

func (s *Server) answerUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	response, err := next(ctx, req)
	return response, s.answer(ctx, err)
}

func (s *Server) answerStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return s.answer(stream.Context(), next(srv, stream))
}

// answer is the error that the caller gets, with its trailer.
func (s *Server) answer(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.meter.refused(CallerFrom(ctx), err)
	told, reason := toStatus(err)
	if told.Code() == codes.Internal && reason == internalReason && !errors.Is(err, errPanicked) {
		logging.AddFields(ctx, logging.Fields{"error", err}) // which the caller is not told
	}
	if reason != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(reasonTrailer, reason)) // fails only when the caller has gone
	}
	return told.Err()
}

var internalReason = strings.TrimPrefix(pb.ErrorReason_ERROR_REASON_INTERNAL.String(), "ERROR_REASON_")

// recovered makes an error of a panic. The stack is for the call's line in the log alone.
func recovered(ctx context.Context, panicked any) error {
	logging.AddFields(ctx, logging.Fields{"panic", panicked, "stack", string(debug.Stack())})
	return errPanicked
}

func (s *Server) admitUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	u, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	u.begin()
	defer u.end()
	return next(ctx, req)
}

func (s *Server) admitStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	u, err := s.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	done, err := s.meter.stream(CallerFrom(stream.Context()))
	if err != nil {
		return err
	}
	defer done()
	u.begin()
	defer u.end()
	return next(srv, stream)
}

// admit refuses callers that are not known, ask too often, or may not do this with any device at all. With which device is asked
// where the device is known, see service.permit.
func (s *Server) admit(ctx context.Context, method string) (*usage, error) {
	who, _ := ctx.Value(callerKey{}).(identity)
	if who.err != nil {
		return nil, who.err
	}
	u, err := s.meter.request(who.caller)
	if err != nil {
		return nil, err
	}
	operation := operationOf(method)
	if strings.HasPrefix(method, servicePrefix) && !s.policy.permitsSome(who.caller, operation) {
		return nil, &notPermitted{caller: who.caller, operation: operation}
	}
	return u, nil
}

const servicePrefix = "/linkkit_sidecar."

// logOptions make one line of each call, when it has ended. Payloads are never logged: they hold secrets and what devices send.
var logOptions = []logging.Option{
	logging.WithLogOnEvents(logging.FinishCall),
	logging.WithLevels(logLevel),
	logging.WithDurationField(logging.DurationToDurationField),
	logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey, logging.MethodTypeFieldKey),
	logging.WithFieldsFromContext(logFields),
}

// logLevel of a call by its code. What an app got wrong is its own log's to complain about; what it may not do concerns us.
func logLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled:
		return logging.LevelDebug
	case codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted:
		return logging.LevelWarn
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logging.LevelError
	default:
		return logging.LevelInfo
	}
}

// changing are the rpcs whose success is worth a line too.
var changing = map[string]bool{"Register": true, "Connect": true, "Disconnect": true, "ForgetDevice": true}

func (s *Server) logCall(ctx context.Context, level logging.Level, message string, fields ...any) {
	if method, _ := grpc.Method(ctx); level == logging.LevelDebug && changing[operationOf(method)] {
		level = logging.LevelInfo
	}
	s.log.Log(ctx, slog.Level(level), message, fields...) //nolint:sloglint // the middleware says "finished call", and has the fields
}
