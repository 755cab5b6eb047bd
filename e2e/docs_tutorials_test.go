//go:build linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var rewriteTutorials = flag.Bool("rewrite-tutorials", false, "write what the commands of docs/tutorials print into the pages")

// readersFolder is where the pages say that their reader works.
const readersFolder = "/home/leo/flows"

// TestTheTutorialsOfTheDocs plays every page of docs/tutorials, and those for people who come from elsewhere, in a directory of its own: code blocks that name a file are saved, the
// commands of console blocks are typed, and what they print must be what the page shows, times and generated names aside.
func TestTheTutorialsOfTheDocs(t *testing.T) {
	t.Parallel()
	var pages []string
	for _, pattern := range []string{"tutorials/[a-z]*.md", "coming-from-*.md"} {
		found, err := filepath.Glob(filepath.Join(built.root, "docs", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages %s: %v", pattern, err)
		}
		pages = append(pages, found...)
	}
	for _, path := range pages {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) {
			t.Parallel()
			playTutorialPage(t, path)
		})
	}
}

// block is a code block of a page.
type block struct {
	language  string
	info      string // after the language: the file's name, or how a console block is played
	body      string
	line      int // of the opening line
	from, end int // offsets of the body
}

func blocks(t *testing.T, text string) []block {
	t.Helper()
	var found []block
	var open *block
	offset, number := 0, 0
	for line := range strings.Lines(text) {
		number++
		mark, isMark := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		offset += len(line)
		switch {
		case isMark && open == nil:
			language, info, _ := strings.Cut(mark, " ")
			open = &block{language: language, info: strings.TrimSpace(info), line: number, from: offset}
		case isMark:
			open.end = offset - len(line)
			open.body = text[open.from:open.end]
			found = append(found, *open)
			open = nil
		}
	}
	if open != nil {
		t.Fatalf("line %d: a code block that does not end", open.line)
	}
	return found
}

func playTutorialPage(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	s := newReader(t)
	var rewritten strings.Builder
	written, typed := 0, 0
	for _, f := range blocks(t, text) {
		switch {
		case f.language == "console":
			typed++
			shown := s.typeBlock(f)
			rewritten.WriteString(text[written:f.from] + shown)
			written = f.end
		case f.info != "":
			s.write(f.info, f.body)
		case f.language != "text":
			t.Errorf("line %d: a block that is neither a file (```python NAME.py), nor typed (```console), nor plain text (```text)", f.line)
		}
	}
	if typed == 0 {
		t.Error("the page types nothing")
	}
	rewritten.WriteString(text[written:])
	if *rewriteTutorials && rewritten.String() != text {
		if err := os.WriteFile(path, []byte(rewritten.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reader is who follows a page.
type reader struct{ *shell }

// newReader opens the shell of a reader who has followed the first page: the binary is on the PATH, and python3 and go find the SDKs.
func newReader(t *testing.T) reader {
	t.Helper()
	s := newShell(t)
	bin := t.TempDir()
	if err := os.Symlink(built.binary, filepath.Join(bin, "sluice")); err != nil {
		t.Fatal(err)
	}
	s.env["PATH"] = bin + ":" + s.env["PATH"]
	s.env["PYTHONPATH"], s.env["PYTHONUNBUFFERED"] = filepath.Join(built.root, "python"), "1"
	address := freeAddress(t)
	s.env["SLUICE_HTTP_ADDR"], s.env["SLUICE_INTERNAL_ADDR"], s.env["SLUICE_GOSSIP_ADDR"] = address, freeAddress(t), freeAddress(t)
	s.env["READER_ADDRESS"] = address
	t.Cleanup(s.endEphemeral)
	r := reader{s}
	r.findsGo()
	return r
}

// findsGo prepares what `go mod init` and `go get` make where there is a network.
func (r reader) findsGo() {
	r.t.Helper()
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOROOT"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			r.t.Fatalf("ask go for %s: %v", name, err)
		}
		r.env[name] = strings.TrimSpace(string(value))
	}
	r.env["GOFLAGS"], r.env["GOPROXY"], r.env["GOTOOLCHAIN"] = "-mod=mod", "off", "local"
	module, err := os.ReadFile(filepath.Join(built.root, "go.mod"))
	if err != nil {
		r.t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(built.root, "go.sum"))
	if err != nil {
		r.t.Fatal(err)
	}
	_, requirements, _ := strings.Cut(string(module), "\n")
	r.write("go.mod", "module flows\n"+requirements+
		"\nrequire github.com/sluice-dev/sluice v0.0.0\nreplace github.com/sluice-dev/sluice => "+built.root+"\n")
	r.write("go.sum", string(sums))
}

// typeBlock types the commands of a block and returns the block as it should read.
func (r reader) typeBlock(f block) string {
	r.t.Helper()
	var shown strings.Builder
	command, want := "", ""
	play := func() {
		if command == "" {
			return
		}
		got := r.typeCommand(command, f.info, want)
		problem := compareShown(f.info, r.masked(want), r.masked(got))
		if problem == "" || (*rewriteTutorials && strings.Contains("\n"+want, "\n...\n")) {
			got = want
		} else if !*rewriteTutorials {
			r.t.Errorf("line %d: $ %s\n%s\nall of the output:\n%s", f.line, command, problem, got)
		}
		shown.WriteString("$ " + command + "\n" + got)
	}
	for line := range strings.Lines(f.body) {
		if rest, found := strings.CutPrefix(line, "$ "); found {
			play()
			command, want = strings.TrimRight(rest, "\n"), ""
			continue
		}
		want += line
	}
	play()
	return shown.String()
}

// typeCommand runs a command line to its end, or in the background until it has printed the last line that is wanted.
func (r reader) typeCommand(command, how, want string) string {
	r.t.Helper()
	text := strings.ReplaceAll(command, "127.0.0.1:4200", r.env["READER_ADDRESS"])
	p := r.launch(launch{program: "/bin/sh", args: []string{"-c", "exec 2>&1\n" + text}})
	if how == "background" {
		lines := strings.Split(strings.TrimRight(want, "\n"), "\n")
		p.waitFor("(?m)^" + regexp.QuoteMeta(strings.ReplaceAll(lines[len(lines)-1], "127.0.0.1:4200", r.env["READER_ADDRESS"])))
		return want
	}
	p.wait()
	got := strings.NewReplacer(r.dir, readersFolder, r.home, "/home/leo", r.env["READER_ADDRESS"], "127.0.0.1:4200").Replace(p.output())
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	return got
}

var (
	generated  = regexp.MustCompile(`(?i)(?:flow run '|FLOW RUN )([a-z]+-[a-z]+)\b`)
	times      = regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?\b`)
	dates      = regexp.MustCompile(`\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?`)
	ids        = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	carets     = regexp.MustCompile(`(?m)^ *[~^]+\n`) // of tracebacks; older versions of Python have none
	spans      = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s| seconds| MB)\b`)
	processIDs = regexp.MustCompile(`\bpid \d+`)
)

// masked replaces what differs between two plays of a page. Names that runs get by chance become run-1, run-2, in the order of the text.
func (r reader) masked(text string) string {
	var names []string
	for _, found := range generated.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(names, found[1]) {
			names = append(names, found[1])
		}
	}
	for i, name := range names {
		text = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(text, fmt.Sprintf("run-%d", i+1))
	}
	text = carets.ReplaceAllString(text, "")
	text = times.ReplaceAllString(dates.ReplaceAllString(text, "DATE"), "TIME")
	text = spans.ReplaceAllString(ids.ReplaceAllString(text, "ID"), "SPAN")
	return processIDs.ReplaceAllString(text, "pid N")
}

// compareShown tells how an output differs from what a page shows; "" if it does not. A line "..." of the page stands for any lines.
func compareShown(how, want, got string) string {
	wanted, printed := strings.Split(want, "\n"), strings.Split(got, "\n")
	if how == "unordered" {
		slices.Sort(wanted)
		slices.Sort(printed)
	}
	if how == "background" || slices.Equal(wanted, printed) {
		return ""
	}
	if slices.Contains(wanted, "...") {
		parts := strings.Split("\n"+want, "\n...\n")
		rest := "\n" + got
		for i, part := range parts {
			at := strings.Index(rest, part)
			if at < 0 || (i == 0 && at != 0) {
				return "is not printed:\n" + part
			}
			rest = rest[at+len(part):]
			if i < len(parts)-1 {
				rest = "\n" + rest
			}
		}
		if parts[len(parts)-1] != "" && strings.Trim(rest, "\n") != "" {
			return "is printed at the end, and not shown:\n" + rest
		}
		return ""
	}
	return "differs (- the page, + what is printed):\n" + difference(wanted, printed)[0]
}
