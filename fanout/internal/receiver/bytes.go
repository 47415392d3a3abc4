package receiver

import "unsafe"

// bytesOf gives a string's bytes without copying them. They must not be
// changed; deliveries are read only, by contract.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
