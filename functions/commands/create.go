package commands

import (
	"fmt"
	"net/http"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/command"
)

// defaultFrom is who a command is from when the body does not say.
const defaultFrom = "server"

// create serves POST /v1/channels/{channel}/commands. As with publish, it checks the
// request first, but reports an error only if the key's rate allows the request.
func (h *handler) create(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	n, wait, wrong := readNew(w, r, key)
	if n.HasToken = wrong != nil || h.over.Lately(key, h.Time()); n.HasToken {
		if err := h.TakeToken(w, r, key); err != nil {
			return err
		}
	}
	if wrong != nil {
		return wrong
	}
	ctx, stop := api.WhileConnected(w, r)
	defer stop()
	c, refusal := h.commands.Create(ctx, n, h.wait(wait))
	if refusal == nil {
		answer(w, c, true)
		return nil
	}
	switch refusal.Code {
	case protocol.RateLimited:
		h.over.Note(key, h.Time())
		return api.RateLimited(w, key, refusal.RetryAfter)
	case protocol.OverMessageQuota:
		api.SetRetryAfter(w, refusal.RetryAfter)
	case protocol.QueueFull:
		api.SetRetryAfter(w, time.Second)
	}
	if refusal.Cause != nil {
		return fmt.Errorf("%w: %w", refusal.Error, refusal.Cause)
	}
	return refusal.Error
}

// readNew finds all that is wrong with a request without asking Redis. wait is in
// milliseconds.
func readNew(w http.ResponseWriter, r *http.Request, key *apps.Key) (n command.New, wait int64, err error) {
	body, err := api.ReadObject(w, r, protocol.MaxBodyBytes,
		"data", "from", "waitMs", "ttlMs", "timeoutMs", "expect", "idempotencyKey", "collapseKey", "notify", "rollout")
	if err != nil {
		return n, 0, err
	}
	if n, wait, err = readFields(body); err != nil {
		return n, 0, err
	}
	n.Key = key
	if n.Channel, err = api.Channel(r); err != nil {
		return n, 0, err
	}
	grant := auth.KeyGrant(key, n.From, nil)
	if refused := grant.Check(apps.ActionPublish, n.Channel); refused != nil {
		return n, 0, refused
	}
	if n.Notify != "" {
		if n.Notify == n.Channel {
			return n, 0, protocol.Errorf(protocol.InvalidRequest, "notify is the command's own channel; name another one")
		}
		if refused := grant.Check(apps.ActionPublish, n.Notify); refused != nil {
			return n, 0, protocol.Errorf(refused.Code, "notify: %s", refused.Message)
		}
	}
	return n, wait, nil
}

func readFields(body api.Object) (n command.New, wait int64, err error) {
	if n.From, err = from(body); err != nil {
		return n, 0, err
	}
	var ttl, timeout, expect int64
	for _, f := range []struct {
		name, unit          string
		least, most, absent int64
		into                *int64
	}{
		{"waitMs", "milliseconds", 0, command.MaxWait.Milliseconds(), command.DefaultWait.Milliseconds(), &wait},
		{"ttlMs", "milliseconds", 0, command.MaxTTL.Milliseconds(), 0, &ttl},
		{"timeoutMs", "milliseconds", command.MinTimeout.Milliseconds(), command.MaxTimeout.Milliseconds(), command.DefaultTimeout.Milliseconds(), &timeout},
		{"expect", "peers", 1, command.MaxExpect, 0, &expect},
	} {
		if *f.into, err = body.Int(f.name, f.unit, f.least, f.most, f.absent); err != nil {
			return n, 0, err
		}
	}
	n.TTL, n.Timeout, n.Expect = time.Duration(ttl)*time.Millisecond, time.Duration(timeout)*time.Millisecond, int(expect)
	for name, into := range map[string]*string{"idempotencyKey": &n.IdempotencyKey, "collapseKey": &n.CollapseKey} {
		if *into, err = body.Key(name, command.MaxKeyBytes); err != nil {
			return n, 0, err
		}
	}
	notify, given, err := body.String("notify", protocol.InvalidChannel)
	if err != nil {
		return n, 0, err
	}
	if given && notify == "" {
		return n, 0, protocol.Errorf(protocol.InvalidChannel, "notify is empty; name a channel, or leave it out")
	}
	n.Notify = notify
	if n.Rollout, err = readRollout(body, ttl); err != nil {
		return n, 0, err
	}
	var has bool
	if n.Data, has = body.Raw("data"); !has {
		return n, 0, protocol.Errorf(protocol.MissingData, "data is missing; it may be any JSON value, null included")
	}
	return n, wait, nil
}

func from(body api.Object) (string, error) {
	from, given, err := body.String("from", protocol.InvalidPeerID)
	switch {
	case err != nil:
		return "", err
	case !given:
		return defaultFrom, nil
	case !protocol.ValidPeerID(from):
		return "", protocol.Errorf(protocol.InvalidPeerID,
			"from %s will not do; it must be 1–%d printable ASCII characters", api.Quote(from), protocol.MaxPeerIDBytes)
	}
	return from, nil
}

// readRollout reads the pace of hand-over.
func readRollout(body api.Object, ttl int64) (r command.Rollout, err error) {
	rollout, given, err := body.Member("rollout", "perMinute", "abort")
	if err != nil || !given {
		return r, err
	}
	if ttl == 0 {
		return r, protocol.Errorf(protocol.InvalidRequest, "rollout needs a ttlMs over 0, since it hands the command over bit by bit")
	}
	perMinute, err := rollout.Int("perMinute", "peers", 1, command.MaxPerMinute, 0)
	if err != nil {
		return r, err
	}
	if perMinute == 0 {
		return r, protocol.Errorf(protocol.InvalidRequest, "rollout.perMinute is missing; it must be a whole number of peers from 1 to %d", command.MaxPerMinute)
	}
	r.PerMinute = int(perMinute)
	abort, given, err := rollout.Member("abort", "failedPct", "minAnswered")
	if err != nil || !given {
		return r, err
	}
	failed, err := abort.Int("failedPct", "percent", 1, 100, 0)
	if err != nil {
		return r, err
	}
	if failed == 0 {
		return r, protocol.Errorf(protocol.InvalidRequest, "rollout.abort.failedPct is missing; it must be a whole number of percent from 1 to 100")
	}
	least, err := abort.Int("minAnswered", "peers", 1, command.MaxExpect, 1)
	r.FailedPct, r.MinAnswered = int(failed), int(least)
	return r, err
}
