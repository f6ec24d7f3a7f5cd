package event

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// record is an event as the journal keeps it. The sequence number is the journal's key.
type record struct {
	Time   time.Time       `json:"time"`
	Device device.ID       `json:"device"`
	Kind   Kind            `json:"kind"`
	Body   json.RawMessage `json:"body"`
}

func encode(e Event) ([]byte, error) {
	body, err := json.Marshal(e.Body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(record{Time: e.Time, Device: e.Device, Kind: e.Body.Kind(), Body: body})
}

// decoders make an empty body of each stored kind and read JSON into it.
var decoders = map[Kind]func([]byte) (Body, error){
	KindConnecting:          into[Attempting],
	KindOnline:              into[WentOnline],
	KindRefused:             into[Refused],
	KindAttemptFailed:       into[AttemptFailed],
	KindLost:                into[Lost],
	KindDisconnected:        into[Disconnected],
	KindRegistered:          into[Registered],
	KindRegistrationFailed:  into[RegistrationFailed],
	KindSubscriptionRefused: into[SubscriptionRefused],
	KindTakeoverSuspected:   into[TakeoverSuspected],
	KindMessagesDropped:     into[MessagesDropped],
	KindWarning:             into[Warning],
	KindForgotten:           into[Forgotten],
	KindStoredEnded:         into[StoredEnded],
}

func into[T Body](data []byte) (Body, error) {
	var body T
	err := json.Unmarshal(data, &body)
	return body, err
}

func decode(sequence uint64, data []byte) (Event, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Event{}, fmt.Errorf("event %d: %w", sequence, err)
	}
	read, known := decoders[r.Kind]
	if !known {
		return Event{}, fmt.Errorf("event %d is of kind %d, which this version does not know", sequence, r.Kind)
	}
	body, err := read(r.Body)
	if err != nil {
		return Event{}, fmt.Errorf("event %d: %w", sequence, err)
	}
	return Event{Sequence: sequence, Time: r.Time, Device: r.Device, Body: body}, nil
}
