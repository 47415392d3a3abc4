package watchers

import (
	"unsafe"
	"weak"
)

// shownFrame is the snapshot of the members, nil if no connection has it queued. Those
// who get the same one share it, also when they come one after the other: one who does
// not read keeps it for a while.
func (v *view) shownFrame() []byte {
	if first := v.shown.Value(); first != nil {
		return unsafe.Slice(first, v.shownBytes)
	}
	return nil
}

// keepShown keeps the snapshot of the members for those who come next.
func (v *view) keepShown(frame []byte) {
	v.shown, v.shownBytes = weak.Make(unsafe.SliceData(frame)), len(frame)
}
