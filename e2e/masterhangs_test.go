package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// halves is a Redis Cluster of which one master hangs, and what lies there and elsewhere.
type halves struct {
	*system
	cluster    *redistest.Cluster
	hung       *redistest.Server
	served     *keyDoc                  // of an app whose slot is elsewhere
	lost       *keyDoc                  // of one whose slot is at the master that hangs
	here, gone string                   // channels of served's app: elsewhere, and at that master
	peers      []string                 // peers of it whose topics are elsewhere
	control    map[string]time.Duration // how long steps took while no master hung
}

var names rediskeys.Namespace

// appsOfEach are two apps for each master.
func appsOfEach(cluster *redistest.Cluster) (docs []*appDoc, of map[*redistest.Server][]*keyDoc) {
	of = map[*redistest.Server][]*keyDoc{}
	for i := 0; len(docs) < 2*len(cluster.Nodes); i++ {
		id := fmt.Sprint("app_half_", i)
		master := cluster.Master(names.Connections(id))
		if len(of[master]) == 2 {
			continue
		}
		key := newKey(fmt.Sprint("half", i), "**").only(everyAction...)
		of[master] = append(of[master], key)
		docs = append(docs, newApp(id, key))
	}
	return docs, of
}

func (h *halves) choose(app string) {
	for i := 0; h.here == "" || h.gone == ""; i++ {
		name := fmt.Sprint("c/", i)
		if h.cluster.Master(string(names.Bucket(app, name))) == h.hung {
			h.gone = name
		} else {
			h.here = name
		}
	}
	for i := 0; len(h.peers) < 1+rounds; i++ {
		if peer := fmt.Sprint("peer", i); h.cluster.Master(string(names.Bucket(app, peer))) != h.hung {
			h.peers = append(h.peers, peer)
		}
	}
}

// rounds is how often everything is tried while the master hangs.
const rounds = 3

// While one master of a cluster hangs, what needs it is refused within 2 s, with its outcome,
// and all else is served: whichever master it is, also the one that has the leases of nodes,
// or the index of deadlines.
func TestMasterHangs(t *testing.T) {
	cluster := redistest.StartClusterOf(t, 3, 0)
	for _, s := range cluster.Nodes {
		// With Redis's default all masters refuse once one is found to have failed.
		if err := s.Client().ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	docs, of := appsOfEach(cluster)
	s := newSystem(t, docs...)
	s.client = func() redis.UniversalClient { return cluster.Client() }
	s.start(cluster.URL(), options{})
	s.start(cluster.URL(), options{})
	for i, hung := range cluster.Nodes {
		has := "keys of apps"
		for what, key := range map[string]string{"the leases of nodes": names.Leases(), "the index of deadlines": names.DueIndex()} {
			if cluster.Master(key) == hung {
				has += ", " + what
			}
		}
		t.Run(fmt.Sprintf("%d: it has %s", i, has), func(t *testing.T) {
			other := cluster.Nodes[(i+1)%3]
			h := &halves{system: s, cluster: cluster, hung: hung, served: of[other][i%2], lost: of[hung][0]}
			for _, doc := range docs {
				if doc.Keys[0] == h.served {
					h.choose(doc.ID)
				}
			}
			h.run(t)
		})
	}
}

func (h *halves) run(t *testing.T) {
	key := h.served
	device := watch(h.first().connect(t, key.token("device", nil)))
	device.enter(h.here)
	away := h.first().connect(t, key.token("away", claims{"permissions": []string{"subscribe"}})).subscribe(h.gone)
	sender := h.last().connect(t, key.token("sender", nil))
	lost := h.last().connect(t, h.lost.token("lost", nil))
	if a, err := h.last().call("POST", "/v1/channels/"+escaped(h.here)+"/publish", key.credential(), `{"data":0}`); err != nil || a.status != 200 {
		t.Fatalf("%d %s %v", a.status, a.body, err)
	}
	device.expectMessage(h.here, "server", "0")
	h.control = map[string]time.Duration{}
	h.serves(t, device, sender, 0, func(what string, took time.Duration) { h.control[what] = took })

	h.hung.Freeze()
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			h.hung.Thaw()
		}
	}
	defer thaw()
	// At once, while nobody knows yet.
	h.isRefused(lost, `"type":"publish","channel":"x","data":"lost"`, "backend_error", "")
	h.isRefused(sender, fmt.Sprintf(`"type":"publish","channel":%q,"data":"lost"`, h.gone), "backend_error", "")
	for _, n := range h.nodes {
		eventually(t, "the node names the master", patience, func() bool {
			status, why := n.ready()
			return status == http.StatusOK && strings.Contains(why, "master "+h.hung.Addr())
		})
		if text := n.metrics(t); !strings.Contains(text, fmt.Sprintf("fleetwire_redis_master_up{master=%q} 0\n", h.hung.Addr())) ||
			strings.Count(text, "fleetwire_redis_master_up{") != 3 || strings.Count(text, "} 1\n") < 2 {
			t.Error("the metric does not name the master")
		}
	}
	for i := range rounds {
		h.serves(t, device, sender, 1+i, func(what string, took time.Duration) { h.inTime(t, what, took, 2*time.Second) })
		h.refuses(t, sender, lost)
	}
	device.alive()
	away.alive()

	thaw()
	publish := func(data string) bool {
		a, err := h.last().call("POST", "/v1/channels/"+escaped(h.gone)+"/publish", key.credential(), `{"data":`+data+`}`)
		return err == nil && a.status == 200
	}
	eventually(t, "the master is used again", recovery, func() bool { return publish(`"early"`) })
	for _, n := range h.nodes {
		eventually(t, "the node names no master", patience, func() bool {
			status, why := n.ready()
			return status == http.StatusOK && !strings.Contains(why, "master")
		})
	}
	if !publish(`"again"`) {
		t.Error("the master is not used")
	}
	for frame := ""; frame != message(h.gone, "server", `"again"`); {
		// The early one may have come before the node was subscribed again.
		if frame = away.next(); !strings.Contains(frame, `"again"`) && !strings.Contains(frame, `"early"`) && !strings.Contains(frame, `"lost"`) {
			t.Fatalf("got %s", frame)
		}
	}
	h.first().connect(t, h.lost.token("back", claims{"permissions": []string{"subscribe"}})).subscribe("x").leave()
	for _, d := range []*socket{device.socket, away, sender, lost} {
		d.leave()
	}
}

// Steps that have a like among what is refused.
const aPublish, aConnect = "a publish", "a connect and a subscribe"

// inTime wants a step within a time that the protocol promises, and twice what the same step
// took in this run while no master hung: a busy machine delays both.
func (h *halves) inTime(t testing.TB, what string, took, promised time.Duration) {
	t.Helper()
	if control := h.control[what]; took > promised+2*control {
		t.Errorf("%s took %v, want at most %v and twice the %v without a master that hangs", what, took, promised, control)
	}
}

// serves wants everything that does not need the master that hangs, and says how long each
// step takes.
func (h *halves) serves(t *testing.T, device *crowd, sender *socket, i int, took func(what string, took time.Duration)) {
	t.Helper()
	begin, key, n := time.Now(), h.served, h.nodes[i%2]
	step := func(what string) {
		took(what, time.Since(begin))
		begin = time.Now()
	}
	data := fmt.Sprint(i + 1)
	sender.publish(h.here, data)
	device.expectMessage(h.here, "sender", data)
	step(aPublish)
	if got := n.publish(t, key, h.here, data+"0"); got < 1 {
		t.Errorf("subscribers: %d, want at least 1", got)
	}
	device.expectMessage(h.here, "server", data+"0")
	step("a publish by REST")
	peer := h.peers[i]
	one := watch(n.connect(t, key.token(peer, nil)))
	one.enter(h.here)
	step(aConnect)
	if _, there := one.there[h.here]["device"]; !there {
		t.Errorf("the snapshot has no device: %v", one.there)
	}
	device.await(h.here, "device "+peer)
	step("who joins")
	c := n.createCommand(t, key, h.here, `{"data":1,"waitMs":5000,"expect":1}`)
	device.answers(device.nextCommand(), `,"status":"succeeded"`)
	if got := (<-c).command(t, 200); got.Status != "succeeded" {
		t.Errorf("the command is %s", got.Status)
	}
	step("a command")
	one.conn.Close()
	device.await(h.here, "device")
	step("who leaves")
	if a, err := n.call("GET", "/v1/usage", key.credential(), ""); err != nil || a.status != 200 {
		t.Errorf("usage: %d %s %v", a.status, a.body, err)
	}
	step("usage")
}

// refuses wants all that needs the master that hangs to be refused at once.
func (h *halves) refuses(t *testing.T, sender, lost *socket) {
	t.Helper()
	for _, n := range h.nodes {
		begin := time.Now()
		for _, where := range []struct {
			key     *keyDoc
			channel string
		}{{h.served, h.gone}, {h.lost, "x"}} {
			a, err := n.call("POST", "/v1/channels/"+escaped(where.channel)+"/publish", where.key.credential(), `{"data":"lost"}`)
			if err != nil || a.status != 503 || !strings.Contains(a.body, `"outcome":"none"`) {
				t.Errorf("a publish over REST: %d %s %v", a.status, a.body, err)
			}
		}
		var closed closedError
		if _, err := n.tryEnter(t, "token="+h.lost.token("new", nil)); !errors.As(err, &closed) || closed.code != 1013 {
			t.Errorf("a connect of an app of the master that hangs: %v, want 1013", err)
		}
		h.inTime(t, aConnect, time.Since(begin), time.Second)
	}
	h.isRefused(sender, fmt.Sprintf(`"type":"publish","channel":%q,"data":"lost"`, h.gone), "backend_error", "none")
	h.isRefused(sender, fmt.Sprintf(`"type":"subscribe","channel":%q`, h.gone), "backend_error", "")
	h.isRefused(lost, `"type":"publish","channel":"x","data":"lost"`, "backend_error", "none")
}

// isRefused wants a request refused within 2 s, with an outcome if one is named.
func (h *halves) isRefused(s *socket, fields, code, outcome string) {
	s.t.Helper()
	begin := time.Now()
	id := s.request(fields)
	frame := s.next()
	if !strings.HasPrefix(frame, fmt.Sprintf(`{"type":"error","requestId":%q,"code":%q`, id, code)) || !strings.Contains(frame, `"outcome":"`+outcome) {
		s.t.Errorf("got %s", frame)
	}
	h.inTime(s.t, aPublish, time.Since(begin), 2*time.Second)
}
