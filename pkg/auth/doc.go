// Package auth authenticates callers and decides what they may do: secret
// credentials on the REST side (protocol §1), tokens and publishable keys on
// the WebSocket side (protocol §3, §4.1), and minting (protocol §5).
//
// All of them end in a [Grant]: an app, a peer and a scope. A scope is always
// the token and its key: nothing a token claims can reach beyond the key that
// signed it, at connect or after the key has been narrowed.
//
// Whether the app is suspended is not looked at here: the caller does that
// next, for it has its own answers (4012, account_suspended).
//
// No error made here contains a secret or a part of a token other than a
// channel pattern that the key does not cover.
package auth
