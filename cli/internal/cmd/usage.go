package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
)

// usageOptions is what usage has been asked for.
type usageOptions struct {
	channels, peers, live bool
	pattern               string
	top                   int
	every                 time.Duration
}

func (c *cli) usageCommand() *cobra.Command {
	o := &usageOptions{}
	command := &cobra.Command{
		Use: "usage", Short: "Show what the app has used, and which device cost what",
		Long: `Shows what the app has used of its plan in this month. With --peers or --channels it lists what each device, or each channel, has sent, the largest
first. With --live it shows who has sent most in the last seconds, again and again. Protocol §5, §6.`,
		Example: "  fleetwire usage\n  fleetwire usage --peers --top 10\n  fleetwire usage --channels --pattern 'devices/*/events'\n  fleetwire usage --live",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.showUsage(cmd.Context(), o) },
	}
	flags := command.Flags()
	flags.BoolVar(&o.channels, "channels", false, "list channels")
	flags.BoolVar(&o.peers, "peers", false, "list devices, by the peer that sent")
	flags.BoolVar(&o.live, "live", false, "list who has sent most in the last seconds, devices unless --channels is given")
	flags.StringVar(&o.pattern, "pattern", "", "only names that it matches, such as 'devices/*/events'")
	flags.IntVar(&o.top, "top", 20, "list at most `N`, 1 to 500")
	flags.DurationVar(&o.every, "every", 2*time.Second, "with --live: the length of an interval, at least 1s")
	return command
}

func (c *cli) showUsage(ctx context.Context, o *usageOptions) error {
	switch {
	case o.channels && o.peers:
		return usagef("usage", "--channels and --peers cannot be together; give one")
	case o.top < 1 || o.top > mostCosts:
		return usagef("usage", "--top: %d is not 1 to %d", o.top, mostCosts)
	case o.every < time.Second:
		return usagef("usage", "--every: %v is shorter than 1s", o.every)
	}
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	switch {
	case o.live:
		return c.liveUsage(ctx, service, o)
	case o.channels || o.peers:
		return c.topUsage(ctx, service, o)
	}
	return c.appUsage(ctx, service)
}

func (c *cli) appUsage(ctx context.Context, service *client.REST) error {
	var u struct {
		AppID                                                                            string
		PeriodStartUnix, PeriodEndUnix                                                   int64
		ConcurrentNow, PeakConcurrent, MessagesUsed, OverageMessages, OverageConnections int64
		Plan                                                                             struct {
			Name                                           string
			MaxConcurrentConnections, MaxMessagesPerPeriod int64
		}
	}
	raw, err := read(ctx, service, http.MethodGet, "/usage", nil, &u)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.JSON(raw)
	}
	day := func(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }
	if err := c.out.Line("app %s, plan %s, from %s to %s (UTC)", u.AppID, show.Safe(u.Plan.Name), day(u.PeriodStartUnix), day(u.PeriodEndUnix)); err != nil {
		return err
	}
	return c.out.Table([]string{"", "USED", "OF", "OVERAGE"}, [][]string{
		{"messages", strconv.FormatInt(u.MessagesUsed, 10), strconv.FormatInt(u.Plan.MaxMessagesPerPeriod, 10), strconv.FormatInt(u.OverageMessages, 10)},
		{"connections now", strconv.FormatInt(u.ConcurrentNow, 10), strconv.FormatInt(u.Plan.MaxConcurrentConnections, 10), strconv.FormatInt(u.OverageConnections, 10)},
		{"connections at the peak", strconv.FormatInt(u.PeakConcurrent, 10), strconv.FormatInt(u.Plan.MaxConcurrentConnections, 10), ""},
	})
}

// cost is what a channel or a peer has sent in the period.
type cost struct {
	Channel   string `json:"channel,omitempty"`
	Peer      string `json:"peerId,omitempty"`
	Published int64  `json:"published"`
	Bytes     int64  `json:"bytes"`
}

func (o *cost) name() string { return cmp.Or(o.Channel, o.Peer) }

// costs reads a page of the largest costs, and its JSON.
func (o *usageOptions) costs(ctx context.Context, service *client.REST, limit int) (list []cost, raw []json.RawMessage, err error) {
	what := "peers"
	if o.channels {
		what = "channels"
	}
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if o.pattern != "" {
		query.Set("pattern", o.pattern)
	}
	path := "/usage/" + what + "?" + query.Encode()
	var page map[string]json.RawMessage
	if _, err := read(ctx, service, http.MethodGet, path, nil, &page); err != nil {
		return nil, nil, err
	}
	if json.Unmarshal(page[what], &raw) != nil || json.Unmarshal(page[what], &list) != nil {
		return nil, nil, notService(http.MethodGet, path)
	}
	return list, raw, nil
}

func (c *cli) topUsage(ctx context.Context, service *client.REST, o *usageOptions) error {
	list, raw, err := o.costs(ctx, service, o.top)
	if err != nil {
		return err
	}
	if c.json {
		for _, entry := range raw {
			if err := c.out.JSON(entry); err != nil {
				return err
			}
		}
		return nil
	}
	return c.printCosts(o, list)
}

func (c *cli) printCosts(o *usageOptions, list []cost) error {
	head := "PEER"
	if o.channels {
		head = "CHANNEL"
	}
	rows := make([][]string, len(list))
	for i, entry := range list {
		rows[i] = []string{entry.name(), strconv.FormatInt(entry.Published, 10), show.Bytes(entry.Bytes)}
	}
	return c.out.Table([]string{head, "MESSAGES", "BYTES"}, rows)
}

// mostCosts is how many costs one answer has at most.
const mostCosts = 500

// liveUsage compares what was sent up to now with what was sent up to some seconds ago. It sees
// the 500 names of the period that have sent most.
func (c *cli) liveUsage(ctx context.Context, service *client.REST, o *usageOptions) error {
	before, _, err := o.costs(ctx, service, mostCosts)
	if err != nil {
		return err
	}
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, _, err := o.costs(ctx, service, mostCosts)
		if err != nil && mayPass(err) {
			_ = c.err.Line("retrying: %s", show.Safe(c.exitOf(ctx, err).text))
			continue // the next list covers the time since the last one
		}
		if err != nil {
			return ended(ctx, err)
		}
		if err := c.printLive(o, grown(before, now)); err != nil {
			return err
		}
		before = now
	}
}

// grown is by how much each has grown, the most first. A name that was not in a full list has sent
// an unknown part of what it has before, and is left out.
func grown(before, now []cost) (list []cost) {
	was := map[string]cost{}
	for _, entry := range before {
		was[entry.name()] = entry
	}
	for _, entry := range now {
		old, known := was[entry.name()]
		if !known && len(before) >= mostCosts {
			continue
		}
		// A new month begins at 0.
		if old.Published > entry.Published {
			old = cost{}
		}
		entry.Published -= old.Published
		entry.Bytes -= old.Bytes
		if entry.Published > 0 {
			list = append(list, entry)
		}
	}
	slices.SortStableFunc(list, func(a, b cost) int { return cmp.Compare(b.Published, a.Published) })
	return list
}

func (c *cli) printLive(o *usageOptions, list []cost) error {
	list = list[:min(o.top, len(list))]
	if c.json {
		for _, entry := range list {
			if err := c.out.JSON(entry); err != nil {
				return err
			}
		}
		return nil
	}
	c.out.Clear()
	if err := c.out.Line("%s, the last %v:", c.Now().Format(time.TimeOnly), o.every); err != nil {
		return err
	}
	return c.printCosts(o, list)
}
