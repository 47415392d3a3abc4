package receiver

import (
	"fmt"
	"strings"
	"time"
)

const (
	// refusalKept is how long a topic that Redis refused is refused to others
	// without asking Redis again.
	refusalKept = time.Second
	// refusalRetry is how often Redis is asked again for topics that it refused
	// after the link was made anew, and that connections still want. At most
	// retriedRefusals are asked for at a time.
	refusalRetry    = 5 * time.Second
	retriedRefusals = 100
	// refusalLogged is the least time between log lines about refusals.
	refusalLogged = time.Minute
)

// RefusedError reports that Redis refused a subscription. Words is Redis's reply,
// which can name Redis's user and channels. Error is for peers, and has no more of it
// than the code.
type RefusedError struct {
	Words   string
	Pattern bool
}

func (e *RefusedError) Error() string {
	code, _, _ := strings.Cut(e.Words, " ")
	if strings.ContainsFunc(code, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		code = "ERR"
	}
	if e.Pattern {
		return "Redis refuses the subscription (" + code + "): it may not let this service PSUBSCRIBE to wildcards"
	}
	return "Redis refuses the subscription (" + code + ")"
}

// Refused is what Redis refuses of the subscriptions that this node wants, in a
// sentence that quotes Redis; "" if it refuses none.
func (r *Receiver) Refused() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused, example, words := 0, "", ""
	for _, sh := range r.shards {
		refused += len(sh.refusals)
		for topic, s := range sh.refusals {
			example, words = topic, s.refusal.err.Words
			break
		}
	}
	if refused == 0 {
		return ""
	}
	return fmt.Sprintf("redis refuses %d of the subscriptions, such as %s: %s", refused, example, words)
}

// refusal is that Redis refused a topic.
type refusal struct {
	err *RefusedError
	at  time.Time
}

// refuse takes an error reply to a command. Redis refuses a command whole because
// of one topic and does not say which: each is then asked for alone.
func (sh *shard) refuse(topics []string, err error) {
	sh.r.mu.Lock()
	var completed []completion
	for _, topic := range topics {
		s := sh.wanted[topic]
		if s == nil || s.confirmed == s.asked {
			continue
		}
		if s.confirmed++; s.confirmed < s.asked || !s.subscribed {
			completed = sh.takeCompleted(completed, s)
			continue // a later command says what holds
		}
		s.subscribed = false
		if len(topics) > 1 {
			s.alone = true
			sh.markChanged(s)
			continue
		}
		s.refusal = &refusal{&RefusedError{err.Error(), s.key.pattern}, time.Now()}
		sh.refusals[topic] = s
		sh.r.reportRefusal(s, err)
		completed = sh.takeCompleted(completed, s)
	}
	sh.r.mu.Unlock()
	sh.wake.Set()
	completeAll(completed)
}

// reportRefusal is called with r.mu held.
func (r *Receiver) reportRefusal(s *subscription, err error) {
	if s.key.pattern {
		err = fmt.Errorf("%w (a wildcard needs PSUBSCRIBE, which Redis allows to a user with access to all channels, &*)", err)
	}
	if now := time.Now(); r.refusalReported.IsZero() || now.Sub(r.refusalReported) >= refusalLogged {
		r.refusalReported = now
		r.opt.Log.Warn("redis refuses a subscription: its subscribers are told, all others are unaffected; further refusals within a minute are not logged", "topic", s.topic, "err", err)
	}
}

// retryRefused forgets refusals that are over, and has those asked for again that
// connections still want.
func (sh *shard) retryRefused() {
	sh.r.mu.Lock()
	defer sh.r.mu.Unlock()
	retried := 0
	for topic, s := range sh.refusals {
		age := time.Since(s.refusal.at)
		switch {
		case s.subscribers == 0 && age >= refusalKept:
			s.refusal = nil
			delete(sh.refusals, topic)
			sh.forgetUnwanted(s)
		case s.subscribers > 0 && age >= refusalRetry && retried < retriedRefusals:
			retried++
			s.refusal, s.alone = nil, true
			delete(sh.refusals, topic)
			sh.markChanged(s)
		}
	}
	if retried > 0 {
		sh.wake.Set()
	}
}
