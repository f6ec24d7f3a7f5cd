package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// trusting is the TLS configuration that all devices of a program share.
func trusting(p Params) (*tls.Config, error) {
	pem, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", p.CAFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(64)}, nil
}

// options are those of a program that uses the MQTT library as its documentation has it.
func options(p Params, config *tls.Config) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("ssl://" + p.Broker).SetTLSConfig(config).SetProtocolVersion(4).
		SetClientID(p.ClientID).SetUsername(p.Username).SetPassword(p.Password).
		SetKeepAlive(time.Minute).SetAutoReconnect(false).SetConnectTimeout(20 * time.Second)
}

func connect(o *mqtt.ClientOptions) (mqtt.Client, error) {
	client := mqtt.NewClient(o)
	token := client.Connect()
	token.Wait()
	return client, token.Error()
}

func connectOne(p Params) (mqtt.Client, error) {
	config, err := trusting(p)
	if err != nil {
		return nil, err
	}
	return connect(options(p, config))
}

// directPublish publishes without a sidecar: with Callers that wait for each PUBACK, or with a Window.
func directPublish(ctx context.Context, p Params, _ io.Writer) (Figures, error) {
	client, err := connectOne(p)
	if err != nil {
		return nil, err
	}
	defer client.Disconnect(250)
	m, payload := newMeter(p), make([]byte, p.Payload)
	if p.Window > 0 {
		publishWindow(ctx, client, p, m, payload)
		return m.figures()
	}
	var callers sync.WaitGroup
	for range p.Callers {
		callers.Go(func() {
			for ctx.Err() == nil && !m.over() {
				start := time.Now()
				token := client.Publish(p.Topic, 1, false, payload)
				token.Wait()
				if token.Error() != nil {
					m.fail(token.Error())
					return
				}
				m.add(start)
			}
		})
	}
	callers.Wait()
	return m.figures()
}

type flight struct {
	token mqtt.Token
	start time.Time
}

func publishWindow(ctx context.Context, client mqtt.Client, p Params, m *meter, payload []byte) {
	flights := make(chan flight, p.Window-1) // one more is in the hands of who waits
	var landing sync.WaitGroup
	landing.Go(func() {
		for f := range flights {
			f.token.Wait()
			if f.token.Error() != nil {
				m.fail(f.token.Error())
				continue
			}
			m.add(f.start)
		}
	})
	for ctx.Err() == nil && !m.over() {
		start := time.Now()
		flights <- flight{client.Publish(p.Topic, 1, false, payload), start}
	}
	close(flights)
	landing.Wait()
}

// directReceive subscribes without a sidecar.
func directReceive(ctx context.Context, p Params, out io.Writer) (Figures, error) {
	config, err := trusting(p)
	if err != nil {
		return nil, err
	}
	r := newReceipt(p)
	o := options(p, config).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { r.add(m.Payload()) })
	client, err := connect(o)
	if err != nil {
		return nil, err
	}
	defer client.Disconnect(250)
	token := client.Subscribe(p.Topic, 1, nil)
	token.Wait()
	if token.Error() != nil {
		return nil, token.Error()
	}
	if err := say(out, ready); err != nil {
		return nil, err
	}
	return r.figures(ctx)
}

// directCrowd brings Devices online without a sidecar, Callers at once, says how long that took, and keeps them online until it is
// stopped.
func directCrowd(ctx context.Context, p Params, out io.Writer) (Figures, error) {
	config, err := trusting(p)
	if err != nil {
		return nil, err
	}
	clients, all := make([]mqtt.Client, p.Devices), make([]error, p.Devices)
	began, slots := time.Now(), make(chan struct{}, max(1, p.Callers))
	var work sync.WaitGroup
	for i := range clients {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			own := p
			own.ClientID, own.Username = p.name(i), p.name(i)+"&"+p.ProductKey
			clients[i], all[i] = connect(options(own, config))
		})
	}
	work.Wait()
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	if err := say(out, map[string]float64{"ready": 1, "seconds": time.Since(began).Seconds(), "cpu_us": micros(cpuTime())}); err != nil {
		return nil, err
	}
	settleOnSignal(ctx)
	for _, c := range clients {
		work.Go(func() { c.Disconnect(100) })
	}
	work.Wait()
	return nil, nil
}
