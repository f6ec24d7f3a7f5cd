package platform

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInterfacesAreRenderedAsThePlatformWritesThem(t *testing.T) {
	for _, c := range []struct {
		in   []NetworkInterface
		want string
	}{
		{nil, ""},
		{[]NetworkInterface{WiFi{"03ACDEFF0032"}}, "WiFi|03ACDEFF0032"},
		{[]NetworkInterface{WiFi{"03:ac:de:ff:00:32"}}, "WiFi|03ACDEFF0032"},
		{[]NetworkInterface{Ethernet{"03-AC-DE-FF-00-32"}, Ethernet{"03acdeff0031"}}, "Eth|03ACDEFF0032|Eth|03ACDEFF0031"},
		{
			[]NetworkInterface{Cellular{"860000000000001", "89860000000000000001", "460000000000001", "8613800000000"}},
			"Cellular|imei_860000000000001|iccid_89860000000000000001|imsi_460000000000001|msisdn_8613800000000",
		},
		{[]NetworkInterface{Cellular{ICCID: "8986000000000000000F"}}, "Cellular|iccid_8986000000000000000F"},
		{[]NetworkInterface{Ethernet{"03ACDEFF0032"}, Cellular{IMEI: "1"}}, "Eth|03ACDEFF0032|Cellular|imei_1"},
	} {
		if got, err := InterfaceInfo(c.in); got != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c.in, got, err)
		}
	}
}

func TestInterfacesThatCannotBeNameTheirField(t *testing.T) {
	ok := Ethernet{"03ACDEFF0032"}
	nineEthernets := make([]NetworkInterface, 9) // 9 × "Eth|" and 12 digits, 8 "|": 152 characters
	tenEthernets := make([]NetworkInterface, 10) // 169 characters
	for i := range nineEthernets {
		nineEthernets[i] = ok
	}
	for i := range tenEthernets {
		tenEthernets[i] = ok
	}
	if got, err := InterfaceInfo(nineEthernets); len(got) != 152 || err != nil {
		t.Errorf("%d characters, %v", len(got), err)
	}
	for _, c := range []struct {
		in          []NetworkInterface
		field, says string
	}{
		{[]NetworkInterface{ok, nil}, "network_interfaces[1]", "ethernet, wifi and cellular"},
		{[]NetworkInterface{Ethernet{}}, "network_interfaces[0].ethernet.mac", "12 hexadecimal"},
		{[]NetworkInterface{Ethernet{"03ACDEFF003"}}, "network_interfaces[0].ethernet.mac", "12 hexadecimal"},
		{[]NetworkInterface{Ethernet{"03ACDEFF003G"}}, "network_interfaces[0].ethernet.mac", "12 hexadecimal"},
		{[]NetworkInterface{ok, WiFi{"192.168.0.1"}}, "network_interfaces[1].wifi.mac", "12 hexadecimal"},
		{[]NetworkInterface{WiFi{"03ACDEFF0032\n"}}, "network_interfaces[0].wifi.mac", "12 hexadecimal"},
		{[]NetworkInterface{WiFi{"03ACDEFF0032|Eth|1"}}, "network_interfaces[0].wifi.mac", "12 hexadecimal"},
		{[]NetworkInterface{Cellular{}}, "network_interfaces[0].cellular", "at least one"},
		{[]NetworkInterface{Cellular{IMEI: "86,1"}}, "network_interfaces[0].cellular.imei", "20 digits"},
		{[]NetworkInterface{Cellular{ICCID: "8986G"}}, "network_interfaces[0].cellular.iccid", "24 digits"},
		{[]NetworkInterface{Cellular{IMSI: strings.Repeat("4", 21)}}, "network_interfaces[0].cellular.imsi", "20 digits"},
		{[]NetworkInterface{Cellular{MSISDN: "+861380"}}, "network_interfaces[0].cellular.msisdn", `without "+"`},
		{tenEthernets, "network_interfaces", "169 characters; the platform takes 160"},
	} {
		if got, err := InterfaceInfo(c.in); got != "" || wrongField(t, err) != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %q, %v", c.in, got, err)
		}
	}
}

func TestInterfaceInfoOfAnySDKIsTakenApart(t *testing.T) {
	for in, want := range map[string][]ReportedInterface{
		"":                                      nil,
		"junk|more":                             nil,
		"WiFi|03ACDEFF0032":                     {{"WiFi", []string{"03ACDEFF0032"}}},
		"WiFi|192.168.0.1":                      {{"WiFi", []string{"192.168.0.1"}}},
		"ETH|1|WiFi|LN|Cellular|imei_1|iccid_2": {{"ETH", []string{"1"}}, {"WiFi", []string{"LN"}}, {"Cellular", []string{"imei_1", "iccid_2"}}},
		"Eth|1|Eth|2":                           {{"Eth", []string{"1"}}, {"Eth", []string{"2"}}},
		"wifi":                                  {{"wifi", nil}},
	} {
		if diff := cmp.Diff(want, ParseInterfaceInfo(in)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}
