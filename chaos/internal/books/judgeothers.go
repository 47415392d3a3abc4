package books

import (
	"time"

	"fleetwire/chaos/internal/plan"
)

func anyFault(plan.Step) bool { return true }

// restated is how long after Redis lost its data nodes may take to say whom they hold: until
// then a command may be told that nobody is subscribed (protocol §6).
const restated = 2 * time.Second

// mayFail says whether a command may come to nothing.
func (j *judge) mayFail(sent, ended time.Time) bool {
	p := j.row(sent).Period
	return j.during(sent, ended, anyFault) || p.Step.Fault.Data && sent.Before(p.Live.Add(restated))
}

func (j *judge) judgeCommands() {
	for i, c := range j.b.commands {
		r := j.row(c.sent)
		r.Commands++
		if c.ending.Status == "succeeded" {
			r.Succeeded++
		}
		ended := c.ended
		if ended.IsZero() {
			ended = c.sent.Add(time.Minute)
		}
		data := j.losesData(c.sent)
		switch {
		case len(c.runs) > 1:
			j.find(Doubled, c.sent, data, "command %d was done %d times by %s", i, len(c.runs), c.peer)
		case c.ending.Refused && len(c.runs) > 0:
			j.find(Undead, c.sent, data, "command %d was refused (%v), and done by %s", i, c.ending.Err, c.peer)
		case c.ending.Status == "succeeded" && (len(c.runs) == 0 || c.ending.Data != c.answer):
			j.find(Invented, c.sent, false, "command %d: the caller got %q, and %s answered %q", i, c.ending.Data, c.peer, c.answer)
		case c.ending.Status != "succeeded":
			j.find(Failed, c.sent, !c.ending.There || j.mayFail(c.sent, ended), "command %d to %s: status %q, error %v", i, c.peer, c.ending.Status, c.ending.Err)
		}
	}
}

// judgeCloses: sockets end only with their node's process.
func (j *judge) judgeCloses() {
	for _, c := range j.b.closes {
		f := j.row(c.at).Period.Step
		j.find(Closed, c.at, f.Fault.Closes && c.node == f.Node, "the socket of %s on node %d ended: %s", c.peer, c.node, c.why)
	}
}

// judgeAnswers: only a node that stands still keeps a sender waiting.
func (j *judge) judgeAnswers() {
	for _, a := range j.b.answers {
		stopped := j.during(a.sent, a.at, func(s plan.Step) bool { return s.Fault.Name == "node-stopped" && s.Node == a.node })
		j.find(Late, a.sent, stopped, "%s took %v", a.what, a.at.Sub(a.sent).Round(time.Millisecond))
	}
}
