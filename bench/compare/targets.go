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
	{
		Comparison: "idle-memory", What: "memory for each idle device of 3,000, by direct",
		Over: []string{"sidecar.kib_per_device"}, Under: []string{"direct.kib_per_device"}, AtMost: 1.25, Aim: 1.15, Unit: "×",
	},
	{
		Comparison: "idle-memory", What: "goroutines for each device",
		Over: []string{"sidecar.goroutines_per_device"}, AtMost: 12,
	},
	{
		Comparison: "idle-one", What: "memory of a sidecar with one idle device (PSS)",
		Over: []string{"sidecar.pss_mb"}, AtMost: 25, Unit: "MB",
	},
	{
		Comparison: "storm", What: "1,000 devices from start to online, by direct",
		Over: []string{"sidecar.seconds_to_online"}, Under: []string{"direct.seconds_to_online"}, AtMost: 1.2, Unit: "×",
	},
	{
		Comparison: "restart", What: "1,000 devices after a broker's restart, until all are online, by the upper bound of the waits",
		Over: []string{"sidecar.by_upper_bound"}, AtMost: 2, Unit: "×",
	},
	{
		Comparison: "restart", What: "the busiest second after the first wave, of all attempts",
		Over: []string{"sidecar.busiest_second_percent"}, AtMost: 5, Unit: "%",
	},
	{
		Comparison: "events", What: "events to 16 readers, in all",
		Over: []string{"sidecar.messages_per_second"}, AtLeast: 100_000, Unit: "/s",
	},
	{
		Comparison: "event-delay", What: "a state change to a reader, p99",
		Over: []string{"sidecar.p99_us"}, AtMost: 5, Scale: 1e-3, Unit: "ms",
	},
	{
		Comparison: "chain", What: "a unary call at 64 callers through the interceptors, by one without",
		Over: []string{"bare-grpc.messages_per_second"}, Under: []string{"sidecar.messages_per_second"}, AtMost: 1.3, Unit: "×",
	},
	{
		Comparison: "crush", What: "2,000 callers on one connection, longest time without an answer",
		Over: []string{"sidecar.longest_gap_us"}, AtMost: 1, Scale: 1e-6, Unit: "s",
	},
	{
		Comparison: "python-publish", What: "Python's publisher, throughput, by the vendor's SDK within its own limits",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"vendor.messages_per_second"}, AtLeast: 2.0, Unit: "×",
	},
	{
		Comparison: "python-publish", What: "Python's publisher, the app's CPU for each message, by the vendor's SDK",
		Over: []string{"sidecar.cpu_us_per_message"}, Under: []string{"vendor.cpu_us_per_message"}, AtMost: 0.35, Unit: "×",
	},
	{
		Comparison: "python-unchanged", What: "an unchanged program of the vendor's API, throughput, by the vendor's SDK",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"vendor.messages_per_second"}, AtLeast: 1.5, Unit: "×",
	},
	{
		Comparison: "python-unchanged", What: "an unchanged program of the vendor's API, the app's CPU for each message, by the vendor's SDK",
		Over: []string{"sidecar.cpu_us_per_message"}, Under: []string{"vendor.cpu_us_per_message"}, AtMost: 0.5, Unit: "×",
	},
	{
		Comparison: "python-one", What: "Python, one publish at a time, p50, by the vendor's SDK",
		Over: []string{"sidecar.p50_us"}, Under: []string{"vendor.p50_us"}, AtMost: 1.6, Unit: "×",
	},
	{
		Comparison: "python-receive", What: "Python, messages received, throughput, by the vendor's SDK",
		Over: []string{"sidecar.messages_per_second"}, Under: []string{"vendor.messages_per_second"}, AtLeast: 1.5, Unit: "×",
	},
	{
		Comparison: "python-receive", What: "Python, messages received, the app's CPU for each, by the vendor's SDK",
		Over: []string{"sidecar.cpu_us_per_message"}, Under: []string{"vendor.cpu_us_per_message"}, AtMost: 0.5, Unit: "×",
	},
	{
		Comparison: "start", What: "from exec to the ready line",
		Over: []string{"fresh.ready_ms"}, AtMost: 150, Unit: "ms",
	},
	{
		Comparison: "start", What: "the binary",
		Over: []string{"fresh.binary_mb"}, AtMost: 25, Unit: "MB",
	},
}
