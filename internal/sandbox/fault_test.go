package sandbox

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
)

func TestAFaultRefusesWithAnyCode(t *testing.T) {
	s := start(t)
	for _, code := range []uint32{1, 2, 3, 4, 5, 6, 128, 255} {
		s.fault(&sandboxv1.Fault{Device: toDevice(dev001), Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: code}})
		c := s.plain()
		if got := c.connect(secretLogin(dev001, deviceSecret)); uint32(got) != code {
			t.Errorf("CONNACK %d, want %d", got, code)
		}
		c.wantEOF()
		l := s.logins(dev001)
		if last := l[len(l)-1]; last.GetConnackCode() != code {
			t.Errorf("recorded: %v", last)
		}
	}
	if d := s.status(dev001); d.GetActivated() || d.GetLogins() > 0 {
		t.Errorf("the device is %v", d)
	}
}

func TestAFaultDelaysTheLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		cloud.setFault(fault{id: dev001, kind: faultDelay, effects: effects{delay: 7 * time.Minute}})
		c := cloud.pipe(t.Context(), t, door{})
		began := time.Now()
		if code := c.connect(secretLogin(dev001, deviceSecret)); code != 0 {
			t.Errorf("CONNACK %d", code)
		}
		if after := time.Since(began); after != 7*time.Minute {
			t.Errorf("the CONNACK came after %v", after)
		}
		c.ping() // the time was not taken from the keep alive's
	})
}

func TestAFaultCutsAfterBytes(t *testing.T) {
	for name, dial := range map[string]func(sandbox) *client{"plain": sandbox.plain, "TLS": sandbox.secure} {
		t.Run(name, func(t *testing.T) {
			for after := 1; after <= 9; after++ {
				s := start(t)
				s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: uint64(after)}})
				c := dial(s)
				c.write(connectPacket(secretLogin(dev001, deviceSecret)))
				stream := append(connack(0, false), append(pingresp, append(pingresp, pingresp...)...)...)
				c.wantPacket(stream[:min(after, 4)]...)
				for sent := 4; sent < after; sent += 2 {
					c.write(pingreq)
					c.wantPacket(stream[sent:min(after, sent+2)]...)
				}
				c.wantReset()
				eventually(t, "offline", func() bool { return !s.status(dev001).GetOnline() })
				s.login(dev001, deviceSecret).ping()
			}
		})
	}
}

func TestAFaultSwallowsPingresp(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Effect: &sandboxv1.Fault_SwallowPingresp{SwallowPingresp: true}})
	c := s.login(dev001, deviceSecret)
	c.write(pingreq, appendPublish(nil, message{topic: topicOf(dev001, "user/update"), qos: 1, id: 4}))
	c.wantPacket(ack(typePuback, 4)...) // and no PINGRESP before it
}

func TestAFaultSwallowsPuback(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Effect: &sandboxv1.Fault_SwallowPuback{SwallowPuback: true}})
	c := s.login(dev001, deviceSecret)
	c.write(appendPublish(nil, message{topic: topicOf(dev001, "user/update"), qos: 1, id: 4}))
	c.ping() // and no PUBACK before it
	if got := s.messages(dev001); len(got) != 1 || got[0].GetMessageId() != 4 {
		t.Errorf("it was not kept: %v", got)
	}
}

func TestAFaultAnswersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := newTestCloud(t)
		cloud.setFault(fault{kind: faultNoConnack, effects: effects{noConnack: true}})
		c := cloud.pipe(t.Context(), t, door{})
		c.write(connectPacket(secretLogin(dev001, deviceSecret)))
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Hour))
		if b, err := c.in.ReadByte(); err == nil {
			t.Errorf("it answered %#02x", b)
		}
		c.write(pingreq) // the socket is still open
		if l := cloud.logins[dev001].last(1); len(l) != 1 || l[0].answered {
			t.Errorf("recorded: %+v", l)
		}
	})
}

func TestFaultsWearOff(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Connections: 2, Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 3}})
	s.fault(&sandboxv1.Fault{Device: toDevice(dev001), Connections: 1, Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 5}})
	for _, want := range []byte{5, 3, 3, 0} { // its own first, then those for any device
		if code := s.plain().connect(secretLogin(dev001, deviceSecret)); code != want {
			t.Errorf("CONNACK %d, want %d", code, want)
		}
	}
	if all, err := s.ListFaults(t.Context(), &sandboxv1.ListFaultsRequest{}); err != nil || len(all.GetFaults()) > 0 {
		t.Errorf("left over: %v, %v", all, err)
	}
}

func TestFaultsAreForOneDevice(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Device: toDevice(dev002), Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 3}})
	s.login(dev001, deviceSecret).ping()
	if code := s.secure().connect(secretLogin(dev002, "any")); code != 3 {
		t.Errorf("CONNACK %d", code)
	}
}

func TestAFaultActsOnARegistration(t *testing.T) {
	s := start(t)
	s.fault(&sandboxv1.Fault{Connections: 1, Effect: &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: 4}})
	c := s.secure()
	if code := c.connect(fromLogin(registration(dev002, 1).Login())); code != 0 {
		t.Errorf("CONNACK %d", code)
	}
	c.wantReset() // before the credential
	if !s.status(dev002).GetHasSecret() {
		t.Error("the platform registered nothing")
	}
}

func TestFaultsAreListedReplacedAndCleared(t *testing.T) {
	s := start(t)
	faults := []*sandboxv1.Fault{
		{Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 200}},
		{Device: toDevice(dev001), Effect: &sandboxv1.Fault_Delay{Delay: durationpb.New(time.Second)}},
		{Device: toDevice(dev001), Connections: 7, Effect: &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: 5}},
		{Device: toDevice(dev002), Effect: &sandboxv1.Fault_SwallowPingresp{SwallowPingresp: true}},
		{Effect: &sandboxv1.Fault_SwallowPuback{SwallowPuback: true}},
		{Effect: &sandboxv1.Fault_NoConnack{NoConnack: true}},
		{Effect: &sandboxv1.Fault_Duplicate{Duplicate: true}},
		{Effect: &sandboxv1.Fault_Reorder{Reorder: true}},
		{Effect: &sandboxv1.Fault_CutPublishAfterBytes{CutPublishAfterBytes: 1<<32 - 1}},
		{Effect: &sandboxv1.Fault_CutReceivedAfterBytes{CutReceivedAfterBytes: 1<<64 - 1}},
		{Effect: &sandboxv1.Fault_CutPubackMissingBytes{CutPubackMissingBytes: 4}},
	}
	s.fault(&sandboxv1.Fault{Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 3}}) // replaced by the first
	for _, f := range faults {
		s.fault(f)
	}
	want := &sandboxv1.ListFaultsResponse{Faults: faults}
	if got, err := s.ListFaults(t.Context(), &sandboxv1.ListFaultsRequest{}); err != nil || !proto.Equal(got, want) {
		t.Errorf("listed: %v, %v", got, err)
	}
	for _, c := range []struct {
		device *sandboxv1.Device
		want   uint32
	}{{toDevice(dev001), 2}, {toDevice(dev001), 0}, {nil, 9}, {nil, 0}} {
		if got, err := s.ClearFaults(t.Context(), &sandboxv1.ClearFaultsRequest{Device: c.device}); err != nil || got.GetCleared() != c.want {
			t.Errorf("cleared for %v: %v, %v, want %d", c.device, got, err, c.want)
		}
	}
	s.login(dev001, deviceSecret).ping()
}

func TestABadFaultIsNotSet(t *testing.T) {
	s := start(t)
	for name, f := range map[string]*sandboxv1.Fault{
		"none at all":      nil,
		"no effect":        {},
		"code 0":           {Effect: &sandboxv1.Fault_RefuseCode{}},
		"code 256":         {Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 256}},
		"no delay":         {Effect: &sandboxv1.Fault_Delay{}},
		"a delay of 0":     {Effect: &sandboxv1.Fault_Delay{Delay: durationpb.New(0)}},
		"a long delay":     {Effect: &sandboxv1.Fault_Delay{Delay: durationpb.New(maxDelay + 1)}},
		"a delay of years": {Effect: &sandboxv1.Fault_Delay{Delay: &durationpb.Duration{Seconds: 1 << 60}}},
		"0 bytes":          {Effect: &sandboxv1.Fault_CutAfterBytes{}},
		"false":            {Effect: &sandboxv1.Fault_NoConnack{}},
		"no twice":         {Effect: &sandboxv1.Fault_Duplicate{}},
		"no swapping":      {Effect: &sandboxv1.Fault_Reorder{}},
		"0 of a PUBLISH":   {Effect: &sandboxv1.Fault_CutPublishAfterBytes{}},
		"0 received":       {Effect: &sandboxv1.Fault_CutReceivedAfterBytes{}},
		"a whole PUBACK":   {Effect: &sandboxv1.Fault_CutPubackMissingBytes{}},
		"5 of a PUBACK":    {Effect: &sandboxv1.Fault_CutPubackMissingBytes{CutPubackMissingBytes: 5}},
		"no such name":     {Device: &sandboxv1.Device{}, Effect: &sandboxv1.Fault_RefuseCode{RefuseCode: 1}},
	} {
		if _, err := s.SetFault(t.Context(), &sandboxv1.SetFaultRequest{Fault: f}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, _ := s.ListFaults(t.Context(), &sandboxv1.ListFaultsRequest{}); len(all.GetFaults()) > 0 {
		t.Errorf("set: %v", all)
	}
}
