package conn

import "github.com/linkkit-sidecar/linkkit-sidecar/internal/message"

// storedQueues are queues whose errors say that it was the state directory that failed.
type storedQueues struct{ message.Queues }

func (q storedQueues) ChangeQueue(changes []message.Change) error {
	return storage(q.Queues.ChangeQueue(changes))
}

func (q storedQueues) ReadQueue(queue string, sequences []uint64) ([][]byte, error) {
	records, err := q.Queues.ReadQueue(queue, sequences)
	return records, storage(err)
}

func (q storedQueues) ScanQueue(queue string, each func(sequence uint64, record []byte) error) error {
	return storage(q.Queues.ScanQueue(queue, each))
}

func (q storedQueues) ListQueues(prefix string) ([]string, error) {
	names, err := q.Queues.ListQueues(prefix)
	return names, storage(err)
}

func (q storedQueues) DropQueues(prefix string) error { return storage(q.Queues.DropQueues(prefix)) }
