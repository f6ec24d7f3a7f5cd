package message

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// errRecord is in the chain of every error of Decode.
var errRecord = errors.New("a stored message cannot be read")

// Encode makes the record of a message on disk: its header as JSON, so that it can grow, and the payload as it is.
func Encode(header any, payload []byte) ([]byte, error) {
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	record := make([]byte, 0, binary.MaxVarintLen32+len(text)+len(payload))
	record = binary.AppendUvarint(record, uint64(len(text)))
	return append(append(record, text...), payload...), nil
}

// Decode reads the header of a record and returns the payload, which is a part of record.
func Decode(record []byte, header any) (payload []byte, err error) {
	length, n := binary.Uvarint(record)
	if n <= 0 || length > uint64(len(record)-n) {
		return nil, fmt.Errorf("%w: it is cut short", errRecord)
	}
	text := record[n : n+int(length)]
	if err := json.Unmarshal(text, header); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return record[n+int(length):], nil
}
