package sandbox

import (
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// A client that somebody else wrote sees a broker.
func TestAnMQTTLibraryTalksToIt(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		url     string
		version uint
	}{
		{"tcp://" + s.Addresses().MQTT, 4}, {"tls://" + s.Addresses().MQTT, 4}, {"tls://" + s.Addresses().MQTTS, 4}, {"tls://" + s.Addresses().MQTTS, 3},
	} {
		login := platform.SecretLogin(dev001, device.NewSecret(deviceSecret), platform.LoginOptions{PlainTCP: c.url[:3] == "tcp"})
		got := make(chan string, 1)
		lost := make(chan error, 1)
		client := mqtt.NewClient(mqtt.NewClientOptions().
			AddBroker(c.url).SetTLSConfig(s.trust("127.0.0.1")).SetProtocolVersion(c.version).SetAutoReconnect(false).
			SetClientID(login.ClientID).SetUsername(login.Username).SetPassword(login.Password.Reveal()).
			SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }).
			SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
		for _, token := range []func() mqtt.Token{
			client.Connect,
			func() mqtt.Token { return client.Subscribe(topicOf(dev001, "user/get"), 1, nil) },
			func() mqtt.Token { return client.Publish(topicOf(dev001, "user/update"), 1, false, "up") },
		} {
			if k := token(); !k.WaitTimeout(time.Minute) || k.Error() != nil {
				t.Fatalf("%s: %v", c.url, k.Error())
			}
		}
		s.publish(dev001, topicOf(dev001, "user/get"), "down", 1)
		select {
		case payload := <-got:
			if payload != "down" {
				t.Errorf("%s: got %q", c.url, payload)
			}
		case err := <-lost:
			t.Errorf("%s: the link was lost: %v", c.url, err)
		}
		client.Disconnect(1000)
	}
	if n := len(s.messages(dev001)); n != 4 {
		t.Errorf("%d messages came", n)
	}
}
