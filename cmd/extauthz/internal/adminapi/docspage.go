package adminapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/swaggest/swgui/v5/static"
)

// The page at /docs is Swagger UI. The program contains all of it, so the page loads
// nothing from other hosts. Its policy allows scripts and styles from this listener only,
// and none inside the page's text, so nothing in a description or an answer is ever run
// as a script.

//go:embed docspage/index.html
var docsPage []byte

//go:embed docspage/start.js
var docsStart []byte

const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serveDocs adds the page. Its large files stay compressed in memory, as they are in the
// program. A client that does not accept gzip gets them uncompressed.
func serveDocs(mux *http.ServeMux) error {
	mux.HandleFunc("GET /docs", asset(docsPage, "text/html; charset=utf-8", false))
	mux.HandleFunc("GET /docs/start.js", asset(docsStart, "text/javascript; charset=utf-8", false))
	for name, kind := range map[string]string{"swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8"} {
		packed, err := static.FS.ReadFile(name + ".gz")
		if err != nil {
			return fmt.Errorf("the page at /docs lacks %s: %w", name, err)
		}
		mux.HandleFunc("GET /docs/"+name, asset(packed, kind, true))
	}
	return nil
}

func asset(content []byte, kind string, packed bool) http.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := hex.EncodeToString(sum[:12])
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", docsPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // browsers ask again each time, and get 304
		body, etag := content, tag
		if packed {
			h.Set("Vary", "Accept-Encoding")
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				h.Set("Content-Encoding", "gzip")
				etag += "-gzip"
			} else {
				plain, err := unpack(content)
				if err != nil {
					writeProblem(w, callOf(r.Context()), newProblem(CodeInternal, "a file of the page can't be unpacked"))
					return
				}
				body = plain
			}
		}
		h.Set("ETag", `"`+etag+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
