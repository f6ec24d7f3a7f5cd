package sandbox

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
)

func TestAFaultDeliversTwice(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Effect: &sandboxv1.Fault_Duplicate{Duplicate: true}})
	c := s.login(dev001, deviceSecret)
	c.subscribe(userGet)
	s.publish(dev001, userGet, "zero", 0)
	c.wantMessage(userGet, "zero", 0)
	for _, payload := range []string{"one", "two"} {
		s.publish(dev001, userGet, payload, 1)
		id := c.wantMessage(userGet, payload, 1).id
		c.wantAgain(userGet, payload, id)
		c.write(ack(typePuback, id), ack(typePuback, id))
	}
	c.ping()
	s.backlog(0, 0)
}

func TestAFaultSwapsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		cloud.setFault(fault{kind: faultReorder, effects: effects{reorder: true}})
		c := cloud.pipe(t.Context(), t, door{})
		c.connect(secretLogin(dev001, deviceSecret))
		c.subscribe(userGet)
		publish := func(payload string, qos byte) {
			if became, err := cloud.deliver(dev001, message{topic: userGet, payload: []byte(payload), qos: qos}); err != nil || became != sent {
				t.Errorf("%s: %v, %v", payload, became, err)
			}
		}
		publish("1", 0)
		time.Sleep(maxHold - 1)
		go publish("2", 1)
		c.wantMessage(userGet, "2", 1)
		c.wantMessage(userGet, "1", 0)
		synctest.Wait()

		publish("3", 1)
		go publish("4", 1)
		c.wantMessage(userGet, "4", 1)
		c.wantMessage(userGet, "3", 1)
		synctest.Wait()

		publish("5", 0) // to which no sixth comes
		began := time.Now()
		c.wantMessage(userGet, "5", 0)
		if after := time.Since(began); after != maxHold {
			t.Errorf("it was held back for %v", after)
		}
		synctest.Wait()

		publish("6", 0)
		c.conn.Close() // and with the link it is gone
		synctest.Wait()
		c = cloud.pipe(t.Context(), t, door{})
		c.connect(secretLogin(dev001, deviceSecret))
		time.Sleep(2 * maxHold)
		c.ping()
	})
}

func TestWhatAFaultHeldBackComesAgainInASessionThatLasts(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_Reorder{Reorder: true}})
	c := s.plain().resume(false)
	c.subscribe(userGet)
	s.publish(dev001, userGet, "held", 1)
	s.hangUp(c)
	s.plain().resume(true).wantAgain(userGet, "held", 1)
}

func TestAFaultCutsAPublish(t *testing.T) {
	for name, dial := range map[string]func(sandbox) *client{"plain": sandbox.plain, "TLS": sandbox.secure} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			whole := appendPublish(nil, message{topic: userGet, payload: []byte("cut"), qos: 1, id: 1})
			for _, after := range []int{1, 2, 3, 7, len(whole) - 1, len(whole), len(whole) + 1, 1 << 32} {
				s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutPublishAfterBytes{CutPublishAfterBytes: uint32(min(after, 1<<32-1))}})
				c := dial(s)
				c.connect(secretLogin(dev001, deviceSecret))
				c.subscribe(userGet)
				c.ping() // other packets do not matter
				if got := s.publish(dev001, userGet, "cut", 1); got != sandboxv1.Delivery_DELIVERY_OFFLINE {
					t.Errorf("%d bytes: %v", after, got)
				}
				c.wantPacket(whole[:min(after, len(whole))]...)
				c.wantReset()
			}
			eventually(t, "offline", func() bool { return !s.status(dev001).GetOnline() })
			s.login(dev001, deviceSecret).ping()
		})
	}
}

func TestAFaultCutsTheCredentialOfARegistration(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutPublishAfterBytes{CutPublishAfterBytes: 5}})
	c := s.secure()
	if code := c.connect(fromLogin(registration(dev002, 1).Login())); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.in, got); err != nil || got[0] != typePublish<<4 {
		t.Errorf("got % x, %v", got, err)
	}
	c.wantReset()
}

func TestAFaultCutsAfterReceivedBytes(t *testing.T) {
	first := appendPublish(nil, message{topic: up, payload: []byte("first"), qos: 1, id: 1})
	second := appendPublish(nil, message{topic: up, payload: []byte("second"), qos: 1, id: 2})
	for name, dial := range map[string]func(sandbox) *client{"plain": sandbox.plain, "TLS": sandbox.secure} {
		for _, c := range []struct {
			after int
			want  []string
		}{
			{1, nil},
			{len(first) - 1, nil},
			{len(first), []string{"first"}},
			{len(first) + 3, []string{"first"}},
			{len(first) + len(second), []string{"first", "second"}},
		} {
			for _, pieces := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", c.after, " ", pieces), func(t *testing.T) {
					s := start(t)
					s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutReceivedAfterBytes{CutReceivedAfterBytes: uint64(c.after)}})
					d := dial(s)
					login := connectPacket(secretLogin(dev001, deviceSecret))
					if pieces { // bytes that come before the CONNACK is sent, or after it
						d.write(login)
						d.wantPacket(connack(0, false)...)
						d.write(first, second)
					} else {
						d.write(login, first, second)
						d.wantPacket(connack(0, false)...)
					}
					for i := range c.want {
						d.wantPacket(ack(typePuback, uint16(i+1))...)
					}
					d.wantReset()
					var got []string
					for _, m := range s.messages(dev001) {
						got = append(got, string(m.GetPayload()))
					}
					if !slices.Equal(got, c.want) {
						t.Errorf("kept: %q, want %q", got, c.want)
					}
				})
			}
		}
	}
}

func TestAFaultCutsInAPuback(t *testing.T) {
	for name, dial := range map[string]func(sandbox) *client{"plain": sandbox.plain, "TLS": sandbox.secure} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			for missing := 1; missing <= 4; missing++ {
				s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutPubackMissingBytes{CutPubackMissingBytes: uint32(missing)}})
				c := dial(s)
				c.connect(secretLogin(dev001, deviceSecret))
				c.publish(up, "zero") // has no PUBACK
				c.ping()
				c.write(appendPublish(nil, message{topic: up, payload: []byte("one"), qos: 1, id: 0x0102}))
				c.wantPacket(ack(typePuback, 0x0102)[:4-missing]...)
				c.wantReset()
				if n := len(s.messages(dev001)); n != 2*missing {
					t.Errorf("%d missing: %d messages were kept", missing, n)
				}
			}
		})
	}
}
