package compare

// All are the comparisons, in the order in which they are run.
var All = []Comparison{
	{Name: "unary-one", Title: "One CONFIRMED publish at a time", Open: unary(1)},
	{Name: "unary-64", Title: "CONFIRMED publishes of 64 callers", Open: unary(64)},
	{Name: "stream", Title: "A stream of CONFIRMED publishes, window 1,000", Open: stream},
	{Name: "stored-64", Title: "STORED publishes of 64 callers", Open: stored},
	{Name: "stored-64-slow-disk", Title: "STORED publishes of 64 callers, fsync takes 5 ms", Open: storedSlow},
	{Name: "subscribe", Title: "Subscribe, as fast as messages come", Open: subscribe(60_000, 500, 0)},
	{Name: "subscribe-paced", Title: "Subscribe at 1,000 messages a second", Open: subscribe(3000, 200, 1000)},
}
