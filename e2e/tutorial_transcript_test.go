//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// transcripts compares what commands print with what the tutorial says they print. docs/tutorial-differences.md says how the tutorial's
// words translate, and lists every difference that is meant, with its reason; any other fails the test, and so does one that is no more.
type transcripts struct {
	t        *testing.T
	words    [][2]string         // the tutorial's, ours; in order
	printed  map[string]string   // by command in the tutorial's words
	meant    map[string][]string // hunks by command in our words
	compared map[string]bool     // commands in our words
	ignored  *regexp.Regexp      // lines of the output that are not the tutorial's; nil for none
	places   *strings.Replacer   // addresses and directories of this run → as the tutorial shows them
}

const differencesFile = "docs/tutorial-differences.md"

func newTranscripts(t *testing.T, places ...string) *transcripts {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "tutorial.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile(filepath.Join(built.root, differencesFile))
	if err != nil {
		t.Fatal(err)
	}
	c := &transcripts{t: t, printed: map[string]string{}, compared: map[string]bool{}, places: strings.NewReplacer(places...)}
	for section := range strings.SplitSeq(strings.TrimPrefix(string(text), "=== "), "\n=== ") {
		command, output, _ := strings.Cut(section, "\n")
		c.printed[command] = output
	}
	c.words, c.meant = parseDifferences(t, string(listed))
	return c
}

var (
	wordRow    = regexp.MustCompile("^\\| `([^`]+)` \\| `([^`]+)` \\|$")
	commandRow = regexp.MustCompile("^## `([^`]+)`")
)

// parseDifferences reads the table of words and, below a heading with the command, the blocks of differences, each of which needs a
// reason before it.
func parseDifferences(t *testing.T, text string) (words [][2]string, meant map[string][]string) {
	t.Helper()
	meant = map[string][]string{}
	command, reason, inside := "", "", false
	var hunk []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case inside && line == "```":
			meant[command] = append(meant[command], strings.Join(hunk, "\n"))
			hunk, reason, inside = nil, "", false
		case inside:
			hunk = append(hunk, line)
		case line == "```diff":
			if inside = true; reason == "" || command == "" {
				t.Fatalf("%s: a difference of `%s` has no reason above it", differencesFile, command)
			}
		case commandRow.MatchString(line):
			command, reason = commandRow.FindStringSubmatch(line)[1], ""
		case wordRow.MatchString(line):
			row := wordRow.FindStringSubmatch(line)
			words = append(words, [2]string{row[1], row[2]})
		default:
			reason += strings.TrimSpace(line)
		}
	}
	if len(words) == 0 || inside {
		t.Fatalf("%s: no table of words, or a block that does not end", differencesFile)
	}
	return words, meant
}

// compare compares the output of a command, named as in the tutorial.
func (c *transcripts) compare(command, got string) {
	c.t.Helper()
	printed, ok := c.printed[command]
	if !ok {
		c.t.Fatalf("the tutorial does not print the output of %q", command)
	}
	ours := mask(c.translate(command))
	c.compared[ours] = true
	if c.ignored != nil {
		got = c.ignored.ReplaceAllString(got, "")
	}
	hunks := difference(masked(c.translate(unwrap(printed))), masked(c.places.Replace(got)))
	var wrong []string
	for _, hunk := range hunks {
		if !slices.Contains(c.meant[ours], hunk) {
			wrong = append(wrong, "differs and is not listed in "+differencesFile+":\n"+hunk)
		}
	}
	for _, hunk := range c.meant[ours] {
		if !slices.Contains(hunks, hunk) {
			wrong = append(wrong, "is listed in "+differencesFile+" and does not differ:\n"+hunk)
		}
	}
	if wrong != nil {
		c.t.Errorf("%s\n%s\nall of the output:\n%s", ours, strings.Join(wrong, "\n"), got)
	}
}

// notCompared says that a command of the tutorial is not typed here.
func (c *transcripts) notCompared(command string) { c.compared[mask(c.translate(command))] = true }

// finish checks that every transcript of the tutorial, and every command of the list, has been compared.
func (c *transcripts) finish() {
	c.t.Helper()
	for command := range c.printed {
		if !c.compared[mask(c.translate(command))] {
			c.t.Errorf("the output of %q was never compared", command)
		}
	}
	for command := range c.meant {
		if !c.compared[command] {
			c.t.Errorf("%s lists differences of `%s`, which the tutorial does not contain", differencesFile, command)
		}
	}
}

func (c *transcripts) translate(text string) string {
	for _, pair := range c.words {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

var wrapped = regexp.MustCompile(`(?m)^(\d\d:\d\d:\d\d.* )\n`)

// unwrap joins the log lines that the tutorial's page breaks: those end in a space.
func unwrap(text string) string { return wrapped.ReplaceAllString(text, "$1") }

// masks replace what differs from run to run.
var masks = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00`), "<timestamp>"},
	{regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}`), "<time>"},
	{regexp.MustCompile(`([Ff]low run) '[a-z]+-[a-z]+'`), "$1 '<name>'"},
	{regexp.MustCompile(`\(pid \d+\)`), "(pid <pid>)"},
	{regexp.MustCompile(`"revision": "\d+"`), `"revision": "<revision>"`},
	// How many lines a node logs while it starts is its own business.
	{regexp.MustCompile(`(?m)(^<time> \| [A-Z]+ +\| sluice - .*\n)+`), "<log of the node>\n"},
}

func mask(text string) string {
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.as)
	}
	return text
}

// masked returns the masked lines without trailing space and without empty lines at both ends.
func masked(text string) []string {
	lines := strings.Split(strings.Trim(mask(text), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// difference returns the places where two texts differ, each as lines with - (only in the first) and + (only in the second), along a
// longest common subsequence.
func difference(from, to []string) []string {
	common := make([][]int, len(from)+1) // of the rests from[i:], to[j:]
	for i := range common {
		common[i] = make([]int, len(to)+1)
	}
	for i := len(from) - 1; i >= 0; i-- {
		for j := len(to) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); from[i] == to[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var hunks, removed, added []string
	flush := func() {
		if lines := append(removed, added...); len(lines) > 0 {
			hunks = append(hunks, strings.Join(lines, "\n"))
		}
		removed, added = nil, nil
	}
	i, j := 0, 0
	for i < len(from) || j < len(to) {
		switch {
		case i < len(from) && j < len(to) && from[i] == to[j]:
			flush()
			i, j = i+1, j+1
		case j == len(to) || i < len(from) && common[i+1][j] >= common[i][j+1]:
			removed = append(removed, strings.TrimRight("- "+from[i], " "))
			i++
		default:
			added = append(added, strings.TrimRight("+ "+to[j], " "))
			j++
		}
	}
	flush()
	return hunks
}

func TestADifferenceIsShownLineByLine(t *testing.T) {
	t.Parallel()
	from, to := strings.Split("one\ntwo\nthree\nfour", "\n"), strings.Split("zero\none\n2\nthree\nfour", "\n")
	if got, want := difference(from, to), []string{"+ zero", "- two\n+ 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := difference(from, from); got != nil {
		t.Errorf("equal texts differ in %q", got)
	}
}
