// Package api is what the control plane's handlers share (protocol §5): the
// checks that stand before every one of them, JSON in, JSON out, and the one
// place that writes errors.
//
// A request passes, in this order:
//
//	path        404 not_found
//	method      405 method_not_allowed, with Allow
//	credential  401 unauthorized, with WWW-Authenticate: Bearer
//	account     403 account_suspended
//	role        403 action_not_permitted for a viewer's key, unless the route is a GET
//	rate        429 rate_limited, with Retry-After; 503 backend_error when the limiter cannot tell
//	handler     any error it returns
//
// That is the order in which a caller hears of them. A handler made by
// [NewTakingToken] may look at a request before its rate is known, as long as it
// says nothing.
//
// A handler gets the key that called and returns an error; it never writes one.
// A *protocol.Error anywhere in the returned chain is what the caller sees.
// Everything else, panics included, is logged and answered with a bare 500
// internal_error, so that nothing of our insides reaches a caller.
//
// Handlers are plain net/http handlers: the same one runs behind Lambda, in
// localdev and in any server. Each checks its own path, because nothing promises
// that a front door has done so.
package api
