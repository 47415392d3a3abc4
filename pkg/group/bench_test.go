package group_test

import (
	"fmt"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// BenchmarkIngest has 1,000 devices publish into a group, and one ingester pull and acknowledge
// as much, while some thousand messages wait. It tells what each step costs a message.
func BenchmarkIngest(b *testing.B) {
	const devices, atOnce, backlog, pulled, acked = 1000, 450, 7000, 400, 100
	rdb := redistest.Start(b).Client()
	p := newProcess(b, rdb, `{"name":"ingest","patterns":["sites/**"],"maxBytes":1000000000}`, "")
	from := send.New(rdb, keys, nil)
	counter := quota.Counter{Key: "fw:{app}:messages:bench", Limit: 1 << 50, ExpiresAt: time.Now().Add(time.Hour)}
	data := []byte(fmt.Sprintf(`{"temperature":21.5,"text":"%070d"}`, 1))
	next, waiting := 0, 0
	var held []string
	publish := func() {
		batch := send.Batch{Counter: counter, App: p.app}
		for range atOnce {
			m := &envelope.Message{App: "app", Channel: fmt.Sprintf("sites/site-0000/device-%04d/events", next%devices), From: "device", Data: data}
			next++
			o := from.Prepare(m)
			o.Groups = p.app.Groups
			batch.Messages = append(batch.Messages, o)
		}
		if err := from.Send(ctx, []send.Batch{batch}); err != nil {
			b.Fatal(err)
		}
		waiting += atOnce
	}
	pull := func() {
		for _, m := range p.pull("one", pulled) {
			held = append(held, m.AckID)
			waiting--
		}
	}
	ack := func() {
		for ; len(held) >= acked; held = held[acked:] {
			if _, err := p.store.Ack(ctx, p.app, p.group, held[:acked], nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	var there, here [3]float64
	step := func(i int, do func()) {
		t, h := redistest.CPU(b, rdb), redistest.OwnCPU(b)
		do()
		there[i], here[i] = there[i]+redistest.CPU(b, rdb)-t, here[i]+redistest.OwnCPU(b)-h
	}
	round := func() {
		step(0, publish)
		step(1, func() {
			for waiting > backlog {
				pull()
			}
		})
		step(2, ack)
	}
	for range 2 * backlog / atOnce {
		round()
	}
	there, here = [3]float64{}, [3]float64{}
	for b.Loop() {
		round()
	}
	n := float64(b.N * atOnce)
	for i, name := range []string{"publish", "pull", "ack"} {
		b.ReportMetric(there[i]/n, name+"-redis-µs")
		b.ReportMetric(here[i]/n, name+"-own-µs")
	}
	b.ReportMetric((there[0]+there[1]+there[2])/n, "redis-µs/message")
	b.ReportMetric((here[0]+here[1]+here[2])/n, "own-µs/message")
}
