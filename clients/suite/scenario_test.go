package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenario is an entry of scenarios.json; README.md says what each step does.
type scenario struct {
	Name  string
	About string
	Alone bool // it restarts or kills a node, so no other scenario runs beside it
	App   appSpec
	Steps []step
}

// step is one of: a request to the driver (Do), the next event of a client (Await), a look
// at the events so far (Count), what is done to a node (Node) or to the app (App), other
// tokens for a client (Token), how often it has asked for one (Asked), and the answer of an
// earlier request (Answered).
type step struct {
	Do       string
	Await    string
	Count    string
	Node     string
	App      string
	Token    *tokenSpec
	Asked    int
	Answered string

	Client string
	With   object            // Do: the request's further fields
	At     string            // Do: the node, first or second; Node: which
	Key    string            // Do, App: the name of a key
	Times  int               // Do: so many requests at once; 0: one
	Later  string            // Do: a name for Answered; the answer is not waited for
	Gives  object            // Do, Answered: what the answer has
	Fails  string            // Do, Answered: the error of the answer
	Has    object            // Await, Count: what the event has
	Skip   bool              // Await: events before it that do not match are passed over
	Is     int               // Count: how many there are
	Keep   map[string]string // Do, Await, Answered: what is kept, by name, and its path
}

func loadScenarios(t *testing.T) []*scenario {
	t.Helper()
	text, err := os.ReadFile("scenarios.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []*scenario
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&all); err != nil {
		t.Fatalf("scenarios.json: %v", err)
	}
	return all
}

// run is a scenario with one client.
type run struct {
	*scenario
	t      *testing.T
	driver *driver
	nodes  *fronts
	tokens *tokenServer

	kept    object
	later   map[string]<-chan object
	taken   map[string]int // events that were awaited, by client and kind
	clients []string       // that are connected
}

// perform takes all steps, then closes the clients.
func (r *run) perform() {
	defer r.finish()
	for i := range r.Steps {
		if err := r.step(&r.Steps[i]); err != nil {
			text, _ := json.Marshal(trimmed(&r.Steps[i]))
			r.t.Fatalf("step %d, %s: %v", i+1, text, err)
		}
	}
}

// trimmed is a step without its empty fields.
func trimmed(s *step) object {
	text, _ := json.Marshal(s)
	var fields object
	_ = json.Unmarshal(text, &fields)
	maps.DeleteFunc(fields, func(_ string, v any) bool {
		return v == nil || v == "" || v == 0.0 || v == false
	})
	return fields
}

func (r *run) step(s *step) error {
	switch {
	case s.Do != "":
		return r.do(s)
	case s.Answered != "":
		return r.answered(s)
	case s.Await != "":
		return r.await(s)
	case s.Count != "":
		return r.count(s)
	case s.Node != "":
		return r.nodes.order(s.Node, s.At)
	case s.App != "":
		return r.changeApp(s)
	case s.Token != nil:
		r.tokens.give(r.path(s.Client), *s.Token)
		return nil
	case s.Asked != 0:
		return r.asked(s)
	}
	return fmt.Errorf("a step that says nothing to do")
}

// path is where a client asks for tokens. It is also its name for the driver.
func (r *run) path(client string) string { return "/" + r.Name + "/" + client }

// request is what the driver is sent.
func (r *run) request(s *step) (object, error) {
	with, err := filled(s.With, r.kept)
	if err != nil {
		return nil, err
	}
	request, _ := with.(object)
	if request == nil {
		request = object{}
	}
	request["do"] = s.Do
	at := s.At
	if strings.HasPrefix(s.Do, "rest_") {
		k, err := r.nodes.apps.key(r.Name, s.Key)
		if err != nil {
			return nil, err
		}
		if at == "" {
			at = "second"
		}
		request["key"] = k.credential()
		request["url"], err = r.nodes.url(at)
		return request, err
	}
	request["client"] = r.path(s.Client)
	if s.Do == "connect" {
		if at == "" {
			at = "first"
		}
		if request["url"], err = r.nodes.url(at); err != nil {
			return nil, err
		}
		if request["token"] == nil {
			request["tokenServer"] = r.tokens.URL + r.path(s.Client)
		}
		r.clients = append(r.clients, r.path(s.Client))
	}
	return request, nil
}

func (r *run) do(s *step) error {
	var answers []<-chan object
	for n := range max(s.Times, 1) {
		r.kept["n"] = float64(n)
		request, err := r.request(s)
		if err != nil {
			return err
		}
		answer, err := r.driver.ask(request)
		if err != nil {
			return err
		}
		answers = append(answers, answer)
	}
	if s.Later != "" {
		r.later[s.Later] = answers[0]
		return nil
	}
	for _, answer := range answers {
		if err := r.check(s, answer); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) answered(s *step) error {
	answer := r.later[s.Answered]
	if answer == nil {
		return fmt.Errorf("no request is called %q", s.Answered)
	}
	delete(r.later, s.Answered)
	return r.check(s, answer)
}

// check waits for an answer, and wants it to be as the step says.
func (r *run) check(s *step, answer <-chan object) error {
	got, err := r.driver.await(answer)
	if err != nil {
		return err
	}
	failed, _ := got["error"].(string)
	switch {
	case failed != s.Fails:
		return fmt.Errorf("the answer's error is %q (%v), want %q", failed, got["message"], s.Fails)
	case failed == "" && got["ok"] != true:
		return fmt.Errorf("the answer has neither an error nor ok: %v", got)
	}
	return r.compare(s.Gives, s.Keep, got)
}

func (r *run) compare(want object, keep map[string]string, got object) error {
	full, err := filled(want, r.kept)
	if err != nil {
		return err
	}
	if d := difference("it", full, got); d != "" && want != nil {
		return fmt.Errorf("%s: %v", d, got)
	}
	for name, path := range keep {
		if r.kept[name], err = dig(got, path); err != nil {
			return err
		}
	}
	return nil
}

// await wants the next event of a kind.
func (r *run) await(s *step) error {
	client := r.path(s.Client)
	which := client + " " + s.Await
	timeout := time.After(patience)
	for {
		events, changed := r.driver.look(client, s.Await)
		for len(events) > r.taken[which] {
			got := events[r.taken[which]]
			r.taken[which]++
			err := r.compare(s.Has, s.Keep, got)
			if err == nil || !s.Skip {
				return err
			}
		}
		select {
		case <-changed:
		case <-r.driver.exited:
			return fmt.Errorf("the driver ended (%v)", r.driver.cmd.ProcessState)
		case <-timeout:
			return fmt.Errorf("no such event within %v; so far: %v", patience, r.driver.all(client))
		}
	}
}

// count looks at all events so far, also those that were awaited.
func (r *run) count(s *step) error {
	events, _ := r.driver.look(r.path(s.Client), s.Count)
	n := 0
	for _, e := range events {
		full, err := filled(s.Has, r.kept)
		if err != nil {
			return err
		}
		if s.Has == nil || difference("it", full, e) == "" {
			n++
		}
	}
	if n != s.Is {
		return fmt.Errorf("%d such events, want %d: %v", n, s.Is, events)
	}
	return nil
}

func (r *run) changeApp(s *step) error {
	switch s.App {
	case "remove_key":
		r.nodes.apps.change(r.Name, func(a *app) {
			a.Keys = slices.DeleteFunc(a.Keys, func(k *key) bool { return k.name == s.Key })
		})
	case "suspend":
		r.nodes.apps.change(r.Name, func(a *app) { a.Suspended = true })
	default:
		return fmt.Errorf("%q is nothing that can be done to an app; it is remove_key or suspend", s.App)
	}
	return r.nodes.reload()
}

// asked waits until a client has asked for so many tokens.
func (r *run) asked(s *step) error {
	timeout := time.After(patience)
	for {
		times, changed := r.tokens.times(r.path(s.Client))
		if times >= s.Asked {
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("%d tokens asked for within %v, want %d", times, patience, s.Asked)
		}
	}
}

// once are the kinds of events that no scenario may leave unseen: each comes where a step
// awaits it, or is one too many.
var once = []string{"message", "direct", "command", "gap", "error", "stopped"}

// finish closes the clients, and finds events that nobody awaited.
func (r *run) finish() {
	for _, client := range r.clients {
		answer, err := r.driver.ask(object{"do": "close", "client": client})
		if err == nil {
			_, err = r.driver.await(answer)
		}
		if err != nil {
			r.t.Errorf("closing %s: %v", client, err)
		}
	}
	if r.t.Failed() {
		return
	}
	for _, client := range r.clients {
		for _, kind := range once {
			if events, _ := r.driver.look(client, kind); len(events) > r.taken[client+" "+kind] {
				r.t.Errorf("%s: events came that are one too many: %v", client, events[r.taken[client+" "+kind]:])
			}
		}
	}
}
