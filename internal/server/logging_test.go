package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lineOf is the one line that a call of three seconds leaves in a log of this level; nil when it leaves none.
func lineOf(t *testing.T, level slog.Level, method string, failure error) map[string]any {
	t.Helper()
	var line map[string]any
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Server{log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))}
		call := s.logSparsely(logging.UnaryServerInterceptor(logging.LoggerFunc(s.logCall), logOptions...))
		times := 0
		_, err := call(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: servicePrefix + "v1.ConnectivityService/" + method}, func(context.Context, any) (any, error) {
			times++
			time.Sleep(3 * time.Second)
			return nil, failure
		})
		if !errors.Is(err, failure) || times != 1 {
			t.Errorf("%v after %d calls", err, times)
		}
		if log.Len() == 0 {
			return
		}
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Errorf("%v: %s", err, log.String())
		}
	})
	return line
}

func TestOnlyCallsThatAreWorthALineLeaveOne(t *testing.T) {
	if line := lineOf(t, slog.LevelInfo, "GetDevice", nil); line != nil {
		t.Errorf("a call that changed nothing left %v", line)
	}
	if line := lineOf(t, slog.LevelDebug, "GetDevice", nil); line["grpc.code"] != "OK" {
		t.Errorf("at the level of debugging it left %v", line)
	}
	failure := status.Error(codes.NotFound, "no such device")
	line := lineOf(t, slog.LevelInfo, "GetDevice", failure)
	if line["grpc.code"] != "NotFound" || line["grpc.method"] != "GetDevice" || line["grpc.duration"] != "3s" {
		t.Errorf("a call that failed left %v", line)
	}
	if difference := cmp.Diff(lineOf(t, slog.LevelDebug, "GetDevice", failure), line); difference != "" {
		t.Errorf("the lines of the two ways differ:\n%s", difference)
	}
}
