package command

import (
	"context"
	"fmt"
)

// pageRuns bounds the scripts of one page. A page that finds too few entries with the
// status within them has a cursor, and fewer entries than asked for.
const pageRuns = 25

// Page is a part of a channel's commands, newest first.
type Page struct {
	Commands []*Command
	Next     string // what the next page begins behind; "": this is the last
}

// List returns commands of the channel, behind after (from the newest for ""), at most
// limit, and fewer if they would be over MaxPageBytes. status "" is any.
func (s *Store) List(ctx context.Context, app, channel string, status Status, after string, limit int) (Page, error) {
	b := s.opt.Keys.Bucket(app, channel)
	page, size := Page{Next: after}, 0
	for range pageRuns {
		r, err := s.run(ctx, b, s.call(s.scripts.list, b, channel, page.Next, limit-len(page.Commands), MaxPageBytes-size, string(status)))
		if err != nil {
			return Page{}, err
		}
		for i := range r[1:] {
			c, err := parseView(b, r.list(1+i))
			if err != nil {
				return Page{}, err
			}
			if len(page.Commands) > 0 && size+c.size() > MaxPageBytes {
				page.Next = page.Commands[len(page.Commands)-1].seq
				return page, nil
			}
			page.Commands, size = append(page.Commands, c), size+c.size()
		}
		page.Next = r.text(0)
		if page.Next == "" || len(page.Commands) >= limit || size >= MaxPageBytes*9/10 {
			break
		}
	}
	return page, nil
}

// size is roughly what the command takes as JSON.
func (c *Command) size() int {
	n := 400 + len(c.Data) + 2*len(c.Channel) + 2*len(c.From)
	for i := range c.Answers {
		n += c.Answers[i].size()
	}
	return n
}

func (a *PeerAnswer) size() int {
	n := 160 + 2*len(a.Peer) + len(a.Data)
	if a.Late != nil {
		n += 100 + len(a.Late.Data)
	}
	return n
}

// AnswersPage is a part of what peers have answered, by peer id.
type AnswersPage struct {
	Answers []PeerAnswer
	Next    string // the peer that the next page begins behind; "": this is the last
}

// Answers returns what became of the command at peers behind after (all for ""), at most
// limit, and fewer if they would be over MaxPageBytes. status "" is any.
func (s *Store) Answers(ctx context.Context, app, id string, status Status, after string, limit int) (AnswersPage, error) {
	p, ok := placeOf(s.opt.Keys, app, id)
	if !ok {
		return AnswersPage{}, ErrNotFound
	}
	if err := s.settle(ctx, p.bucket, []string{p.local}); err != nil {
		return AnswersPage{}, err
	}
	page, size := AnswersPage{Next: after}, 0
	for range pageRuns {
		r, err := s.answersCall(ctx, p, status, page.Next, limit, MaxPageBytes-size)
		if err != nil {
			return AnswersPage{}, err
		}
		answers, err := parseAnswers(r.list(0))
		if err != nil {
			return AnswersPage{}, fmt.Errorf("command %s: %w", id, err)
		}
		for _, a := range answers {
			if full := len(page.Answers) == limit || size+a.size() > MaxPageBytes; full && len(page.Answers) > 0 {
				page.Next = page.Answers[len(page.Answers)-1].Peer
				return page, nil
			}
			page.Answers, size = append(page.Answers, a), size+a.size()
		}
		page.Next = r.text(1)
		if page.Next == "" || len(page.Answers) >= limit || size >= MaxPageBytes*9/10 {
			break
		}
	}
	return page, nil
}

func (s *Store) answersCall(ctx context.Context, p place, status Status, after string, limit, bytes int) (reply, error) {
	r, err := s.run(ctx, p.bucket, s.call(s.scripts.answers, p.bucket, p.local, after, limit, bytes, string(status)))
	if err == nil && len(r) == 0 {
		err = ErrNotFound
	}
	return r, err
}
