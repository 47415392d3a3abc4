package console

import (
	"embed"
	"io/fs"
	"net/http"
	"path"

	"fleetwire/clients/go/protocol"
)

//go:embed dist
var dist embed.FS

// redirect sends a browser from /console to the page, whose paths are relative to it.
func redirect(w http.ResponseWriter, r *http.Request) *protocol.Error {
	if err := takes(w, r, http.MethodGet); err != nil {
		return err
	}
	w.Header().Set("Location", "/console/")
	w.WriteHeader(http.StatusPermanentRedirect)
	return nil
}

// serveFile serves the page or one of its assets. The name of an asset has a hash of its content, so
// a browser may keep it; it asks for the page each time, which names those of this version.
func serveFile(w http.ResponseWriter, r *http.Request, name string) *protocol.Error {
	if err := takes(w, r, http.MethodGet); err != nil {
		return err
	}
	keep := "public, max-age=31536000, immutable"
	if name == "" {
		name, keep = "index.html", "no-cache"
	}
	content, err := fs.ReadFile(dist, "dist/"+name) // refuses names that are not clean
	if err != nil {
		return protocol.Errorf(protocol.NotFound, "the console has no file of this name; load /console/ again")
	}
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Cache-Control", keep)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(content)
	return nil
}

// contentType does not depend on what types the machine knows.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}
