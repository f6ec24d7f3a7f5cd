package admin

import (
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
)

// MaxPerDevice is how many devices may have metrics of their own.
const MaxPerDevice = 10_000

// Metrics of single devices. There is a time series of each for each device, which with thousands costs more than it tells, and the
// names of devices are not everybody's business: so they are shown when asked for, of so many devices and no more.
var (
	deviceOnline   = describe("device_online", "1 while the device is online, else 0.", "product_key", "device_name")
	deviceWanted   = describe("device_wanted", "1 while the device is to be online, else 0.", "product_key", "device_name")
	deviceConnects = describe("device_connects_total", "Logins of the device that the platform accepted.", "product_key", "device_name")
	deviceLosses   = describe("device_losses_total", "Links of the device that were lost.", "product_key", "device_name")
	deviceSent     = describe("device_messages_sent_total", "As linkkit_sidecar_messages_sent_total, of the device.", "product_key", "device_name")
	deviceReceived = describe("device_messages_received_total", "Messages that came from the platform for the device.", "product_key", "device_name")
	deviceOutbox   = describe("device_outbox_messages", "STORED messages of the device that the platform does not have yet.", "product_key", "device_name")
	deviceAge      = describe("device_outbox_oldest_age_seconds", "How long ago the oldest of these was accepted; 0 when there is none.", "product_key", "device_name")
	deviceLeftOut  = describe("devices_left_out", "Devices without metrics of their own, because there are more than have them.")
)

func (s sink) devices(all []event.Status, most int, now time.Time) {
	shown := all[:min(len(all), most)]
	s.gauge(deviceLeftOut, float64(len(all)-len(shown)))
	for _, d := range shown {
		key, name := d.Device.ProductKey, d.Device.DeviceName
		s.gauge(deviceOnline, one(d.State == event.Online), key, name)
		s.gauge(deviceWanted, one(d.Wanted), key, name)
		s.counter(deviceConnects, d.Counters.Connects, key, name)
		s.counter(deviceLosses, d.Counters.Losses, key, name)
		s.counter(deviceSent, d.Counters.MessagesSent, key, name)
		s.counter(deviceReceived, d.Counters.MessagesReceived, key, name)
		s.gauge(deviceOutbox, float64(d.Queue.StoredMessages), key, name)
		s.gauge(deviceAge, age(d.Queue.OldestStored, now), key, name)
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
