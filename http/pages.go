package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/gorilla/mux"

	"github.com/sluice-dev/sluice/api"
)

// pages are the files of the web interface. Everything below assets/ has its content's hash in its name and stands there compressed only, as
// NAME.gz and NAME.br; index.html is every page.
type pages struct {
	index       []byte // nil: the interface was not built
	placeholder []byte // says how to build it
	assets      map[string]*asset
}

type asset struct {
	contentType  string
	gzip, brotli []byte
}

const (
	assetFolder = "assets/"
	// baseMark is what index.html has in place of the base path.
	baseMark = `<base href="/">`
	// pagePolicy lets pages use what comes from here and nothing else.
	pagePolicy = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
	// placeholderPolicy is that of a page with styles of its own and no scripts.
	placeholderPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'self'; frame-ancestors 'none'"
)

func newPages(files fs.FS) (*pages, error) {
	p := &pages{assets: map[string]*asset{}}
	var err error
	if p.index, err = fs.ReadFile(files, "index.html"); errors.Is(err, fs.ErrNotExist) {
		if p.placeholder, err = fs.ReadFile(files, "placeholder.html"); err != nil {
			return nil, err
		}
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(p.index, []byte(baseMark)) {
		return nil, fmt.Errorf("index.html lacks %s", baseMark)
	}
	return p, fs.WalkDir(files, strings.TrimSuffix(assetFolder, "/"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return p.add(name, content)
	})
}

func (p *pages) add(name string, content []byte) error {
	plain, form := name[:len(name)-len(path.Ext(name))], path.Ext(name)
	a := p.assets[plain]
	if a == nil {
		a = &asset{contentType: mime.TypeByExtension(path.Ext(plain))}
		p.assets[plain] = a
	}
	switch form {
	case ".gz":
		a.gzip = content
	case ".br":
		a.brotli = content
	default:
		return fmt.Errorf("%s is not compressed", name)
	}
	return nil
}

// outsideAPI matches what may be a page.
func outsideAPI(r *http.Request, _ *mux.RouteMatch) bool {
	return r.URL.Path != "/api" && !strings.HasPrefix(r.URL.Path, "/api/")
}

// showPage answers with an asset, or with the page for people's browsers wherever they are in the interface.
func showPage(s *Server, x *exchange) error {
	name := strings.TrimPrefix(x.r.URL.Path, "/")
	gone := &failure{status: http.StatusNotFound, kind: api.KindNotFound, detail: "Not Found", hint: "The paths of the API begin with /api; the documentation lists them."}
	if s.pages == nil {
		return gone
	}
	if a := s.pages.assets[name]; a != nil {
		return x.sendAsset(a)
	}
	// Programs that mistake an address shall not be given a page.
	if strings.HasPrefix(name, assetFolder) || name != "" && !strings.Contains(x.r.Header.Get("Accept"), "text/html") {
		return gone
	}
	x.sendPage(s.pages, x.baseHref())
	return nil
}

func (x *exchange) sendAsset(a *asset) error {
	h := x.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	accepted := x.r.Header.Get("Accept-Encoding")
	switch {
	case a.brotli != nil && strings.Contains(accepted, "br"):
		h.Set("Content-Encoding", "br")
		_, _ = x.Write(a.brotli)
	case strings.Contains(accepted, "gzip"):
		h.Set("Content-Encoding", "gzip")
		_, _ = x.Write(a.gzip)
	default:
		plain, err := gzip.NewReader(bytes.NewReader(a.gzip))
		if err != nil {
			return fmt.Errorf("unpack an asset: %w", err)
		}
		_, _ = io.Copy(x, plain) // the client went away
	}
	return nil
}

func (x *exchange) sendPage(p *pages, base string) {
	h := x.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "X-Forwarded-Prefix")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	page, policy := p.index, pagePolicy
	if page == nil {
		page, policy = p.placeholder, placeholderPolicy
		page = bytes.Replace(page, []byte("<head>"), []byte("<head>\n<base href=\""+html.EscapeString(base)+"\">"), 1)
	} else {
		page = bytes.Replace(page, []byte(baseMark), []byte(`<base href="`+html.EscapeString(base)+`">`), 1)
	}
	h.Set("Content-Security-Policy", policy)
	sum := sha256.Sum256(page)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	h.Set("ETag", tag)
	if x.r.Header.Get("If-None-Match") == tag {
		x.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = x.Write(page)
}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// cleanBasePath is without a slash at its end; "" is the root.
func cleanBasePath(given string) (string, error) {
	clean := strings.TrimRight(given, "/")
	if !plainPath.MatchString(clean) || strings.Contains(clean, "/.") {
		return "", fmt.Errorf("base path %q is not like /sluice: segments of letters, digits and -_.~, each after a slash", given)
	}
	return clean, nil
}

// belowBasePath is the rest of a path that begins with the base path.
func (s *Server) belowBasePath(p string) (rest string, under bool) {
	if s.basePath == "" {
		return "", false
	}
	rest, under = strings.CutPrefix(p, s.basePath)
	if rest == "" {
		return "/", under
	}
	return rest, under && rest[0] == '/'
}

// baseHref is the root of the interface as the browser sees it, with a slash at its end. A proxy that takes a prefix off says so by a header.
func (x *exchange) baseHref() string {
	forwarded, err := cleanBasePath(x.r.Header.Get("X-Forwarded-Prefix"))
	if err != nil {
		forwarded = ""
	}
	if x.based || forwarded == "" {
		return forwarded + x.server.basePath + "/"
	}
	return forwarded + "/"
}
