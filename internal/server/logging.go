package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
)

// logSparsely spares calls that leave no line what a line costs: the middleware gathers its fields before each call and adds to them
// after it, which was a sixth of a publish. So at the usual level it is asked only about calls that have failed, and those that change
// something.
func (s *Server) logSparsely(logged grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if changing[operationOf(info.FullMethod)] || s.log.Enabled(ctx, slog.LevelDebug) {
			return logged(ctx, req, info, next)
		}
		began := time.Now()
		response, err := next(ctx, req)
		if err == nil {
			return response, nil
		}
		ctx = context.WithValue(ctx, beganKey{}, began)
		return logged(ctx, req, info, func(context.Context, any) (any, error) { return response, err })
	}
}

// beganKey is when a call began of which the middleware hears only when it has ended.
type beganKey struct{}

// logFields are added to those of the middleware, and take their place where it has the same.
func logFields(ctx context.Context) logging.Fields {
	fields := logging.Fields{"caller", CallerFrom(ctx).String()}
	if began, ended := ctx.Value(beganKey{}).(time.Time); ended {
		fields = append(fields, "grpc.start_time", began.Format(time.RFC3339))
		fields = append(fields, logging.DurationToDurationField(time.Since(began))...)
	}
	return fields
}
