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

// A client that somebody else wrote finds its session again.
func TestAnMQTTLibraryFindsItsSessionAgain(t *testing.T) {
	s := start(t)
	login := platform.SecretLogin(dev001, device.NewSecret(deviceSecret), platform.LoginOptions{PlainTCP: true})
	got := make(chan mqtt.Message, 10)
	connect := func(wantPresent bool) mqtt.Client {
		client := mqtt.NewClient(mqtt.NewClientOptions().
			AddBroker("tcp://" + s.Addresses().MQTT).SetProtocolVersion(4).SetAutoReconnect(false).SetCleanSession(false).
			SetClientID(login.ClientID).SetUsername(login.Username).SetPassword(login.Password.Reveal()).
			SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- m }))
		token := client.Connect()
		if !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatal(token.Error())
		}
		if present := token.(*mqtt.ConnectToken).SessionPresent(); present != wantPresent {
			t.Errorf("the session is present: %v", present)
		}
		return client
	}
	client := connect(false)
	if k := client.Subscribe(userGet, 1, nil); !k.WaitTimeout(time.Minute) || k.Error() != nil {
		t.Fatal(k.Error())
	}
	client.Disconnect(1000)
	eventually(t, "offline", func() bool { return !s.status(dev001).GetOnline() })
	for _, payload := range []string{"one", "two", "three"} {
		s.publish(dev001, userGet, payload, 1)
	}
	client = connect(true)
	for _, want := range []string{"one", "two", "three"} {
		select {
		case m := <-got:
			if string(m.Payload()) != want || m.Duplicate() {
				t.Errorf("got %q (again: %v), want %q", m.Payload(), m.Duplicate(), want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q did not come", want)
		}
	}
	s.backlog(0, 0) // it has acknowledged them
	client.Disconnect(1000)
}
