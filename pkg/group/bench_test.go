package group_test

import (
	"fmt"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// BenchmarkIngest has 1,000 devices publish into a group, and one ingester pull and acknowledge
// as much, while some thousand messages wait. It tells what each step costs a message.
func BenchmarkIngest(b *testing.B) {
	const devices, together, backlog, pulled, acked = 1000, 450, 7000, 400, 100
	rdb := redistest.Start(b).Client()
	p := newProcess(b, rdb, `{"name":"ingest","patterns":["sites/**"],"maxBytes":1000000000}`, "")
	from := send.New(rdb, keys, nil)
	counter := quota.Counter{Key: "fw:{app}:messages:bench", Limit: 1 << 50, ExpiresAt: time.Now().Add(time.Hour)}
	data := []byte(fmt.Sprintf(`{"temperature":21.5,"text":"%070d"}`, 1))
	next, waiting := 0, 0
	var held []string
	publish := func() {
		batch := send.Batch{Counter: counter, App: p.app}
		for range together {
			m := &envelope.Message{App: "app", Channel: fmt.Sprintf("sites/site-0000/device-%04d/events", next%devices), From: "device", Data: data}
			next++
			o := from.Prepare(m)
			o.Groups = p.app.Groups
			batch.Messages = append(batch.Messages, o)
		}
		if err := from.Send(ctx, []send.Batch{batch}); err != nil {
			b.Fatal(err)
		}
		waiting += together
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
		t, h := redisCPU(b, rdb), ownCPU(b)
		do()
		there[i], here[i] = there[i]+redisCPU(b, rdb)-t, here[i]+ownCPU(b)-h
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
	for range 2 * backlog / together {
		round()
	}
	there, here = [3]float64{}, [3]float64{}
	for b.Loop() {
		round()
	}
	n := float64(b.N * together)
	for i, name := range []string{"publish", "pull", "ack"} {
		b.ReportMetric(there[i]/n, name+"-redis-µs")
		b.ReportMetric(here[i]/n, name+"-own-µs")
	}
	b.ReportMetric((there[0]+there[1]+there[2])/n, "redis-µs/message")
	b.ReportMetric((here[0]+here[1]+here[2])/n, "own-µs/message")
}

var usedCPU = regexp.MustCompile(`used_cpu_(?:user|sys):([0-9.]+)`)

// redisCPU is the CPU time that Redis has used, in µs.
func redisCPU(b *testing.B, rdb *redis.Client) (us float64) {
	b.Helper()
	for _, found := range usedCPU.FindAllStringSubmatch(rdb.Info(ctx, "cpu").Val(), -1) {
		seconds, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		us += seconds * 1e6
	}
	return us
}

// ownCPU is the CPU time that this process has used, in µs.
func ownCPU(b *testing.B) float64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1000
}
