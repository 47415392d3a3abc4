//go:build unix

package appsfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a file the owner and the group of the one that it will replace: else the nodes, which
// run as that user, could not read it any more.
func keepOwner(file *os.File, of fs.FileInfo) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	want, ok := of.Sys().(*syscall.Stat_t)
	got, known := info.Sys().(*syscall.Stat_t)
	if !ok || !known || want.Uid == got.Uid && want.Gid == got.Gid {
		return nil
	}
	if err := file.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("%s belongs to user %d and group %d, which this user cannot keep; run the command as that user, or as root: %w", of.Name(), want.Uid, want.Gid, err)
	}
	return nil
}
