package compare

// Targets are all that the figures should be. A run prints each with its figure.
var Targets = []Target{
	{
		Comparison: "unary-one", What: "one CONFIRMED unary publish at a time, p50, by the sum of direct and bare gRPC",
		Over: []string{"sidecar.p50_us"}, Under: []string{"direct.p50_us", "bare-grpc.p50_us"}, AtMost: 1.10, Unit: "×",
	},
	{
		Comparison: "unary-64", What: "CONFIRMED unary publishes of 64 callers, throughput, by bare gRPC",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"bare-grpc.messages_per_second"}, AtLeast: 0.75, Unit: "×",
	},
	{
		Comparison: "stream", What: "PublishStream, window 1,000, throughput, by direct",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"direct.messages_per_second"}, AtLeast: 1.0, Aim: 1.2, Unit: "×",
	},
	{
		Comparison: "stream", What: "CPU of the sidecar for each message of that stream, by that of direct",
		Over: []string{"sidecar.sidecar_cpu_us_per_message"}, Under: []string{"direct.cpu_us_per_message"}, AtMost: 1.0, Unit: "×",
	},
	{
		Comparison: "stored-64", What: "STORED publishes of 64 callers, messages for each fsync",
		Over: []string{"counted.messages"}, Under: []string{"counted.fsyncs"}, AtLeast: 20,
	},
	{
		Comparison: "stored-64", What: "STORED publishes of 64 callers, p50, by one fsync",
		Over: []string{"sidecar.p50_us"}, Under: []string{"fsync.p50_us"}, AtMost: 3, Unit: "×",
	},
	{
		Comparison: "stored-64-slow-disk", What: "the same on a disk that takes 5 ms for an fsync, messages for each",
		Over: []string{"sidecar.messages"}, Under: []string{"sidecar.fsyncs"}, AtLeast: 20,
	},
	{
		Comparison: "stored-64-slow-disk", What: "the same on a disk that takes 5 ms for an fsync, p50, by one fsync",
		Over: []string{"sidecar.p50_us"}, Under: []string{"fsync.p50_us"}, AtMost: 3, Unit: "×",
	},
	{
		Comparison: "subscribe", What: "a Go app that subscribes, throughput, by direct",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"direct.messages_per_second"}, AtLeast: 1.0, Unit: "×",
	},
	{
		Comparison: "subscribe-paced", What: "a Go app that subscribes, p50 at 1,000 messages a second, by direct",
		Over: []string{"sidecar.p50_us"}, Under: []string{"direct.p50_us"}, AtMost: 1.5, Unit: "×",
	},
}
