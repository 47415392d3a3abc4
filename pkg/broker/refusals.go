package broker

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
func (b *Broker) Refused() string {
	in := b.interests
	in.mu.Lock()
	defer in.mu.Unlock()
	for topic, i := range in.refusals {
		return fmt.Sprintf("redis refuses %d of the subscriptions, such as %s: %s", len(in.refusals), topic, i.refusal.err.Words)
	}
	return ""
}

// refusal is that Redis refused a topic.
type refusal struct {
	err *RefusedError
	at  time.Time
}

// refuse takes an error reply to a command. Redis refuses a command whole because
// of one topic and does not say which: each is then asked for alone.
func (in *interests) refuse(topics []string, err error) {
	in.mu.Lock()
	var told []settled
	for _, topic := range topics {
		i := in.wanted[topic]
		if i == nil || i.confirmed == i.asked {
			continue
		}
		if i.confirmed++; i.confirmed < i.asked || !i.subscribed {
			told = in.takeSettled(told, i)
			continue // a later command says what holds
		}
		i.subscribed = false
		if len(topics) > 1 {
			i.alone = true
			in.markDirty(i)
			continue
		}
		i.refusal = &refusal{&RefusedError{err.Error(), i.key.pattern}, time.Now()}
		in.refusals[topic] = i
		in.reportRefusal(i, err)
		told = in.takeSettled(told, i)
	}
	in.mu.Unlock()
	in.signal()
	tellAll(told)
}

// reportRefusal is called with in.mu held.
func (in *interests) reportRefusal(i *interest, err error) {
	if i.key.pattern {
		err = fmt.Errorf("%w (a wildcard needs PSUBSCRIBE, which Redis allows to a user with access to all channels, &*)", err)
	}
	if now := time.Now(); in.refusalReported.IsZero() || now.Sub(in.refusalReported) >= refusalLogged {
		in.refusalReported = now
		in.opt.Log.Warn("redis refuses a subscription: its subscribers are told, all others are unaffected; further refusals within a minute are not logged", "topic", i.topic, "err", err)
	}
}

// retryRefused forgets refusals that are over, and has those asked for again that
// connections still want.
func (in *interests) retryRefused() {
	in.mu.Lock()
	defer in.mu.Unlock()
	retried := 0
	for topic, i := range in.refusals {
		age := time.Since(i.refusal.at)
		switch {
		case i.subscribers == 0 && age >= refusalKept:
			i.refusal = nil
			delete(in.refusals, topic)
			in.forgetUnwanted(i)
		case i.subscribers > 0 && age >= refusalRetry && retried < retriedRefusals:
			retried++
			i.refusal, i.alone = nil, true
			delete(in.refusals, topic)
			in.markDirty(i)
		}
	}
	if retried > 0 {
		in.signal()
	}
}
