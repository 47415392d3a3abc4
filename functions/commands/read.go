package commands

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/command"
)

// usualPage and maxPage bound the entries of a page.
const (
	usualPage = 100
	maxPage   = 500
)

// read serves GET /v1/commands/{id}.
func (h *handler) read(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	query, err := api.ReadQuery(r.URL.RawQuery, "waitMs")
	if err != nil {
		return err
	}
	wait, err := readWait(query)
	if err != nil {
		return err
	}
	id, err := h.find(r, key)
	if err != nil {
		return err
	}
	ctx, stop := api.WhileConnected(w, r)
	defer stop()
	c, err := h.commands.Wait(ctx, key, id, h.wait(wait))
	if err != nil {
		return command.Explain(err)
	}
	answer(w, c, wait > 0)
	return nil
}

// cancel serves DELETE /v1/commands/{id}.
func (h *handler) cancel(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
		return err
	}
	id, err := h.find(r, key)
	if err != nil {
		return err
	}
	c, err := h.commands.Cancel(r.Context(), key.App.ID, id)
	if err != nil {
		return command.Explain(err)
	}
	answer(w, c, false)
	return nil
}

// answers serves GET /v1/commands/{id}/answers.
func (h *handler) answers(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	p, err := readPage(r, command.OfPeers)
	if err != nil {
		return err
	}
	id, err := h.find(r, key)
	if err != nil {
		return err
	}
	page, err := h.commands.Answers(r.Context(), key.App.ID, id, p.status, p.after, p.limit)
	if err != nil {
		return command.Explain(err)
	}
	api.Write(w, http.StatusOK, appendAnswersPage(nil, &page))
	return nil
}

// list serves GET /v1/channels/{channel}/commands.
func (h *handler) list(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	p, err := readPage(r, command.OfCommands)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(p.after, 10, 64); err != nil && p.after != "" {
		return api.WrongCursor()
	}
	name, err := api.Channel(r)
	if err != nil {
		return err
	}
	if refused := auth.KeyGrant(key, "", nil).Check(apps.ActionPublish, name); refused != nil {
		return refused
	}
	page, err := h.commands.List(r.Context(), key.App.ID, name, p.status, p.after, p.limit)
	if err != nil {
		return command.Explain(err)
	}
	api.Write(w, http.StatusOK, appendPage(nil, name, &page))
	return nil
}

// find is the id of the command in the path, if the key may know of it.
func (h *handler) find(r *http.Request, key *apps.Key) (id string, err error) {
	if id, err = url.PathUnescape(r.PathValue("id")); err != nil {
		return "", command.Explain(command.ErrNotFound)
	}
	channel, err := h.commands.Channel(r.Context(), key.App.ID, id)
	if err != nil {
		return "", command.Explain(err)
	}
	if auth.KeyGrant(key, "", nil).Check(apps.ActionPublish, channel) != nil {
		return "", command.Explain(command.ErrNotFound)
	}
	return id, nil
}

func readWait(query url.Values) (int64, error) {
	if !query.Has("waitMs") {
		return 0, nil
	}
	text, most := query.Get("waitMs"), command.MaxWait.Milliseconds()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most || strconv.FormatInt(n, 10) != text {
		return 0, protocol.Errorf(protocol.InvalidRequest, "waitMs is %s; it must be a whole number of milliseconds from 0 to %d, in plain digits", api.Quote(text), most)
	}
	return n, nil
}

// page is which part of a list a request asks for.
type page struct {
	status command.Status // "": any
	after  string
	limit  int
}

func readPage(r *http.Request, known []command.Status) (p page, err error) {
	query, err := api.ReadQuery(r.URL.RawQuery, "status", "limit", "cursor")
	if err != nil {
		return p, err
	}
	if p.limit, err = api.ReadLimit(query, usualPage, maxPage); err != nil {
		return p, err
	}
	if p.status = command.Status(query.Get("status")); query.Has("status") && !slices.Contains(known, p.status) {
		return p, protocol.Errorf(protocol.InvalidRequest, "status is %s; it must be one of %q", api.Quote(string(p.status)), known)
	}
	p.after, err = api.ReadCursor(query)
	return p, err
}
