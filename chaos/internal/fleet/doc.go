// Package fleet is the traffic that faults fall into: devices that publish, listen, meet
// and do commands, backends that publish and command, apps with caps, and probes. All that
// it does and hears is in the books.
package fleet
