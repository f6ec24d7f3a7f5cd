package compare

// All are the comparisons, in the order in which they are run.
var All = []Comparison{
	{Name: "unary-one", Title: "One CONFIRMED publish at a time", Open: unary(1)},
	{Name: "unary-64", Title: "CONFIRMED publishes of 64 callers", Open: unary(64)},
	{Name: "stream", Title: "A stream of CONFIRMED publishes, window 1,000", Open: stream},
	{Name: "stream-sandbox", Title: "The same stream over the sandbox instead of mosquitto", Open: onSandbox(stream)},
	{Name: "stored-64", Title: "STORED publishes of 64 callers", Open: stored},
	{Name: "stored-64-slow-disk", Title: "STORED publishes of 64 callers, fsync takes 5 ms", Open: storedSlow},
	{Name: "subscribe", Title: "Subscribe, as fast as messages come", Open: subscribe(60_000, 500, 0)},
	{Name: "subscribe-paced", Title: "Subscribe at 1,000 messages a second", Open: subscribe(3000, 200, 1000)},
	{Name: "idle-memory", Title: "Memory of 3,000 idle devices", Open: idleMemory, Repetitions: 3},
	{Name: "idle-one", Title: "Memory of a sidecar with one idle device", Open: idleOne},
	{Name: "storm", Title: "1,000 devices from the start of the process to online", Open: storm},
	{Name: "restart", Title: "1,000 devices whose broker is away for 30 seconds", Open: restart, Repetitions: 1},
	{Name: "events", Title: "12,000 events to 16 readers", Open: events},
	{Name: "event-delay", Title: "A state change to one reader, idle", Open: eventDelay},
	{Name: "chain", Title: "GetDevice, 64 callers", Open: chain},
	{Name: "crush", Title: "2,000 callers of GetDevice on one connection", Open: crush},
	{Name: "python-publish", Title: "Python: publishes as fast as the defaults permit", Open: pythonPublish},
	{Name: "python-unchanged", Title: "Python: a program of the vendor's API, on its SDK and through the sidecar", Open: pythonUnchanged},
	{Name: "python-one", Title: "Python: one publish at a time", Open: pythonOne},
	{Name: "python-receive", Title: "Python: messages received, as fast as they come", Open: pythonReceive},
	{Name: "start", Title: "From exec to the ready line", Open: start},
}
