// Package api is tests alone. Beside it lie the descriptions of the service for
// those who generate clients from them: openapi.yaml of the control plane and
// asyncapi.yaml of the sockets. The tests lint them, and hold them against the
// code: its routes, statuses and error codes, its frames and their fields, its
// close codes and limits.
package api
