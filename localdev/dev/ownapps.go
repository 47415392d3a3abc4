package dev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fleetwire/pkg/apps"
)

// ownAppsFile holds the key pair made at the first start, so that a restart does
// not invalidate what a shell remembers. It is ignored by git.
const ownAppsFile = ".fleetwire/apps.json"

// ownApps returns the file, and makes it at the first start, readable by its
// owner alone.
func ownApps() (string, error) {
	_, err := os.Stat(ownAppsFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeOwnApps()
	}
	if err != nil {
		return "", fmt.Errorf("no place to keep a key pair (give -apps FILE instead): %w", err)
	}
	return ownAppsFile, nil
}

func makeOwnApps() error {
	if err := os.MkdirAll(filepath.Dir(ownAppsFile), 0o700); err != nil {
		return err
	}
	return os.WriteFile(ownAppsFile, apps.NewLocalDocument(), 0o600)
}
