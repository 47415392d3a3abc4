package apps

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/redact"
)

const (
	maxAppIDBytes  = 64
	maxKeyIDBytes  = 128
	maxKeyPatterns = 100
	maxRate        = 1_000_000_000
	maxGraceMs     = 3_600_000
	// maxPlanNumber is 2^53-1: counters are compared in Redis scripts, whose
	// numbers are doubles, and shown in JSON, whose readers often use doubles.
	maxPlanNumber = 1<<53 - 1
	// minSecretBytes is what RFC 7518 §3.2 asks of an HS256 key.
	minSecretBytes = 32
	// idSecretSeparator stands between id and secret in the credential's
	// second spelling (protocol §1).
	idSecretSeparator = "_secret_"
)

// Parse checks an apps document whole (protocol §7) and gives its directory.
//
// The check is strict: a field that is unknown, given twice or of the wrong
// type, bytes after the document, a byte order mark and invalid UTF-8 are all
// errors. The error lists up to ten mistakes, each with its JSON path, what is
// wrong and what would be right; it never contains a secret. suspended, plan,
// limits and each field of limits may be left out, as may a plan's name and
// its two switches.
func Parse(doc []byte) (*Directory, error) {
	if err := checkText(doc); err != nil {
		return nil, err
	}
	p := &parser{
		dir:     &Directory{byID: map[string]*App{}, keys: map[string]*Key{}},
		appPath: map[string]string{},
		keyPath: map[string]string{},
	}
	p.document(value{raw: bytes.TrimSpace(doc), p: &p.problems})
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.dir, nil
}

// parser builds a directory. The directory is given out only if no problem
// came up, so its parts need not be complete after one.
type parser struct {
	problems
	dir     *Directory
	appPath map[string]string // app id → where it is defined
	keyPath map[string]string // key id → where it is defined
}

func (p *parser) document(v value) {
	if v.raw[0] != '{' {
		p.addf("the document", `must be an object {"apps":[…]}, got %s`, protocol.Kind(v.raw))
		return
	}
	o, ok := v.object("apps")
	if !ok {
		return
	}
	field, ok := o.need("apps", "an array of at least one app")
	if !ok {
		return
	}
	list, ok := field.list()
	if ok && len(list) == 0 {
		field.addf("must have at least one app")
	}
	for _, item := range list {
		p.app(item)
	}
}

func (p *parser) app(v value) {
	o, ok := v.object("id", "suspended", "plan", "limits", "commandBytes", "rememberPeersSec", "maxRememberedPeers", "graceMs", "history", "historyBytes", "groups", "keys")
	if !ok {
		return
	}
	app := &App{Plan: DefaultPlan(), Limits: DefaultLimits(), CommandBytes: DefaultCommandBytes, HistoryBytes: DefaultHistoryBytes, Peers: DefaultPeerSettings(), Keys: []*Key{}}
	if id, ok := o.need("id", "an app needs an id"); ok {
		app.ID = p.appID(id, v.path)
	}
	if suspended, ok := o.get("suspended"); ok {
		app.Suspended, _ = suspended.boolean()
	}
	if plan, ok := o.get("plan"); ok {
		app.Plan = readPlan(plan)
	}
	if limits, ok := o.get("limits"); ok {
		app.Limits = readLimits(limits)
	}
	if bound, ok := o.get("commandBytes"); ok {
		app.CommandBytes, _ = bound.whole(MinCommandBytes, maxPlanNumber)
	}
	readPeerSettings(o, &app.Peers)
	readHistory(o, app)
	readGroups(o, app)
	if keys, ok := o.need("keys", "an array of keys, which may be empty"); ok {
		list, _ := keys.list()
		for _, item := range list {
			p.key(app, item)
		}
	}
	p.dir.apps = append(p.dir.apps, app)
	p.dir.byID[app.ID] = app
}

func (p *parser) appID(v value, owner string) string {
	id, ok := v.text()
	if !ok {
		return ""
	}
	if len(id) == 0 || len(id) > maxAppIDBytes || !every(id, isWord) {
		v.addf("must be 1–%d characters of A–Z, a–z, 0–9, _ and -", maxAppIDBytes)
		return ""
	}
	if other, taken := p.appPath[id]; taken {
		v.addf("already used by %s; app ids are unique", other)
	} else {
		p.appPath[id] = owner
	}
	return id
}

func readPlan(v value) Plan {
	plan := Plan{Name: DefaultPlan().Name}
	o, ok := v.object("name", "maxConcurrentConnections", "maxMessagesPerPeriod", "overagesAllowed", "overagesEnabled")
	if !ok {
		return plan
	}
	if name, ok := o.get("name"); ok {
		plan.Name, _ = name.text()
	}
	for _, f := range []struct {
		name string
		into *int64
	}{
		{"maxConcurrentConnections", &plan.MaxConcurrentConnections},
		{"maxMessagesPerPeriod", &plan.MaxMessagesPerPeriod},
	} {
		if n, ok := o.need(f.name, "a plan needs it, a whole number ≥ 0"); ok {
			*f.into, _ = n.whole(0, maxPlanNumber)
		}
	}
	for _, f := range []struct {
		name string
		into *bool
	}{
		{"overagesAllowed", &plan.OveragesAllowed},
		{"overagesEnabled", &plan.OveragesEnabled},
	} {
		if b, ok := o.get(f.name); ok {
			*f.into, _ = b.boolean()
		}
	}
	return plan
}

func readLimits(v value) Limits {
	limits := DefaultLimits()
	o, ok := v.object("connectionMessagesPerSec", "connectionMessagesBurst", "connectsPerAddressPerMin", "restPerSec", "restBurst", "maxTokenLifeSec")
	if !ok {
		return limits
	}
	for _, f := range []struct {
		name string
		into *int
	}{
		{"connectionMessagesPerSec", &limits.ConnectionMessagesPerSec},
		{"connectionMessagesBurst", &limits.ConnectionMessagesBurst},
		{"connectsPerAddressPerMin", &limits.ConnectsPerAddressPerMin},
		{"restPerSec", &limits.RESTPerSec},
		{"restBurst", &limits.RESTBurst},
		{"maxTokenLifeSec", &limits.MaxTokenLifeSec},
	} {
		if limit, ok := o.get(f.name); ok {
			n, _ := limit.whole(1, maxRate)
			*f.into = int(n)
		}
	}
	return limits
}

func readPeerSettings(o object, into *PeerSettings) {
	if seconds, ok := o.get("rememberPeersSec"); ok {
		n, _ := seconds.whole(0, maxRate)
		into.Remember = time.Duration(n) * time.Second
	}
	if most, ok := o.get("maxRememberedPeers"); ok {
		into.MaxRemembered, _ = most.whole(1, maxRate)
	}
	if ms, ok := o.get("graceMs"); ok {
		n, _ := ms.whole(0, maxGraceMs)
		into.Grace = time.Duration(n) * time.Millisecond
	}
}

func (p *parser) key(app *App, v value) {
	o, ok := v.object("id", "secret", "channelPatterns", "actions", "role", "allowedOrigins")
	if !ok {
		return
	}
	key := &Key{App: app, Patterns: []*channel.Pattern{}}
	if id, ok := o.need("id", "a key needs an id"); ok {
		key.ID = p.keyID(id, v.path)
	}
	p.secret(key, o)
	if patterns, ok := o.need("channelPatterns", "an array of patterns, which may be empty"); ok {
		readPatterns(key, patterns)
	}
	if actions, ok := o.need("actions", "an array of actions, which may be empty"); ok {
		readActions(key, actions)
	}
	if role, ok := o.get("role"); ok {
		readRole(key, role)
	}
	if origins, ok := o.get("allowedOrigins"); ok {
		readOrigins(key, origins)
	}
	app.Keys = append(app.Keys, key)
	p.dir.keys[key.ID] = key
}

// keyID shows no id that it refuses: a whole credential pasted into the id
// would be in the log.
func (p *parser) keyID(v value, owner string) string {
	id, ok := v.text()
	if !ok {
		return ""
	}
	publishable := strings.HasPrefix(id, publishablePrefix)
	legal := func(c byte) bool { return c > ' ' && c <= '~' && c != ':' }
	switch other, taken := p.keyPath[id]; {
	case len(id) == 0 || len(id) > maxKeyIDBytes || !every(id, legal):
		v.addf("must be 1–%d characters of printable ASCII without space and ':'", maxKeyIDBytes)
	// An id that ends in "_secret" would be cut short in "<id>_secret_<secret>"
	// just as one that contains the separator.
	case !publishable && strings.Contains(id+"_", idSecretSeparator):
		v.addf("a secret key's id must neither contain %q nor end with %q; put the id alone here, and what follows %q into secret",
			idSecretSeparator, "_secret", idSecretSeparator)
	case taken:
		v.addf("already used by %s; key ids are unique across all apps", other)
	default:
		p.keyPath[id] = owner
	}
	return id
}

// secret holds secret keys to having a secret and publishable keys to having
// none. A key whose id could not be read is neither.
func (p *parser) secret(key *Key, o object) {
	v, given := o.get("secret")
	switch {
	case key.Publishable() && given:
		v.addf("a key whose id begins with %q is publishable and must not have a secret", publishablePrefix)
	case key.Publishable():
	case !given && key.ID != "":
		v.addf("missing; a secret key needs a secret of at least %d bytes, and a publishable key an id that begins with %q", minSecretBytes, publishablePrefix)
	case given:
		secret, ok := v.text()
		if ok && secret == "" {
			v.addf("is empty; a secret key needs a secret of at least %d bytes", minSecretBytes)
		}
		key.Secret = secret
		p.warnSecret(v.path, secret)
	}
}

func (p *parser) warnSecret(path, secret string) {
	warn := func(text string) { p.dir.warnings = append(p.dir.warnings, path+": "+text) }
	if len(secret) < minSecretBytes {
		warn("shorter than the 32 bytes that RFC 7518 §3.2 asks of an HS256 key; make a longer one")
	}
	if !every(secret, func(c byte) bool { return c > ' ' && c <= '~' }) {
		warn("has white space or characters outside ASCII; it can sign tokens, but an Authorization header may not carry it")
	}
}

func readPatterns(key *Key, v value) {
	list, _ := v.atMost(maxKeyPatterns, "patterns")
	for _, item := range list {
		text, ok := item.text()
		if !ok {
			continue
		}
		pattern, err := channel.Compile(text)
		if err != nil {
			item.addf("%v", err)
			continue
		}
		key.Patterns = append(key.Patterns, pattern)
	}
}

func readActions(key *Key, v value) {
	list, _ := v.list()
	for _, item := range list {
		text, ok := item.text()
		if !ok {
			continue
		}
		action, ok := ParseAction(text)
		if !ok {
			item.addf("unknown action %s; known are publish, subscribe, presence, send", redact.Value(text))
			continue
		}
		key.Actions.Add(action)
	}
}

func readRole(key *Key, v value) {
	text, ok := v.text()
	if !ok {
		return
	}
	role, known := ParseRole(text)
	switch {
	case key.Publishable():
		v.addf("a publishable key has no role; give a role to a secret key, or leave the field out")
	case !known:
		v.addf("unknown role %s; known are full, viewer", redact.Value(text))
	}
	key.Role = role
}

func readOrigins(key *Key, v value) {
	list, ok := v.atMost(maxOrigins, "origins")
	if ok && len(list) == 0 {
		v.addf("must have at least one origin; leave the field out to allow all")
	}
	for _, item := range list {
		text, ok := item.text()
		if !ok {
			continue
		}
		origin, err := parseOrigin(text)
		if err != nil {
			item.addf("%v", err)
			continue
		}
		key.AllowedOrigins = append(key.AllowedOrigins, origin)
	}
}

// isWord tells whether a byte may be in the id of an app or the name of a group.
func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// every tells whether each byte of s is legal.
func every(s string, legal func(byte) bool) bool {
	for i := range len(s) {
		if !legal(s[i]) {
			return false
		}
	}
	return true
}

// checkText makes sure that the document is one JSON value in valid UTF-8. It
// says where it is not, but not what is there: it could be part of a secret.
func checkText(doc []byte) error {
	var p problems
	var whole json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(doc, &whole); {
	case bytes.HasPrefix(doc, []byte("\xef\xbb\xbf")):
		p.addf("the document", "begins with a byte order mark; save it as plain UTF-8")
	case len(bytes.TrimSpace(doc)) == 0:
		p.addf("the document", `is empty; it must be an object {"apps":[…]}`)
	case !utf8.Valid(doc):
		at := 0
		for at < len(doc) {
			r, size := utf8.DecodeRune(doc[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		line, column := position(doc, at)
		p.addf("the document", "is not valid UTF-8 at line %d, byte %d", line, column)
	case errors.As(err, &syntax) && int(syntax.Offset) >= len(doc) && strings.Contains(err.Error(), "unexpected end"):
		p.addf("the document", "ends too early: a bracket or a quotation mark is not closed")
	case errors.As(err, &syntax):
		line, column := position(doc, int(syntax.Offset)-1)
		p.addf("the document", "is not valid JSON at line %d, byte %d", line, column)
	case err != nil:
		p.addf("the document", "is not valid JSON")
	}
	return p.err()
}

// position turns an offset into a line and a byte within it, both from 1.
func position(doc []byte, offset int) (line, column int) {
	before := doc[:max(0, min(offset, len(doc)))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')
}
