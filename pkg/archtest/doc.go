// Package archtest holds the architecture's rules as tests: it has no code of
// its own.
//
// The rules read the module's source files and fail with the reason of the
// rule that is broken:
//
//   - every directory with Go files has one package doc;
//   - imports point one way, cli → localdev → fanout/node and functions/* → pkg/*;
//     some libraries are known in one place only, and no file imports two packages
//     of one name;
//   - only pkg/publish/send publishes messages through Redis pub/sub, only
//     fanout/internal/receiver subscribes, and only pkg/rediskeys spells a name in
//     Redis;
//   - files stay readable in one go, and mains hold nothing but wiring.
//
// A rule that turns out wrong is changed in rules_test.go, with its reason, in
// the change that needs it.
package archtest
