//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// page is a page of docs/operate as a test plays it: what its HTML comments ask for, in their order. docs/operate/README.md
// describes the comments.
type page struct {
	file  string
	steps []step
}

// step is one comment and the block below it.
type step struct {
	line     int
	verb     string   // setup, run, shows, not run, power off, new disk
	machines []string // run, power off, new disk
	together bool     // run: on all machines at once
	fails    bool     // run: the commands must fail
	atLast   bool     // shows: the commands are repeated until they succeed and show it
	repeated bool     // run: by the atLast below
	text     string   // the block
	argument string   // what else the comment says
}

var (
	comment = regexp.MustCompile(`^\s*<!-- (setup|run on|shows at last|shows|not run|power off|new disk in)(:| |$)\s*(.*?)\s*-->\s*$`)
	fence   = regexp.MustCompile("^\\s*```(\\w*)")
	// indented is a command in a block that no comment can be above.
	indented = regexp.MustCompile(`^(    |\t)\s*(sudo )?sluice `)
)

// parsePage reads a page. Every block of commands (```sh) must say where it is run, or why it is not.
func parsePage(file, text string) (*page, error) {
	p := &page{file: file}
	lines := strings.Split(text, "\n")
	var open *step // waits for its block
	for i := 0; i < len(lines); i++ {
		if m := comment.FindStringSubmatch(lines[i]); m != nil {
			if open != nil {
				return nil, fmt.Errorf("%s:%d: `%s` has no block below it", file, open.line, open.verb)
			}
			s, err := parseStep(m[1], m[3])
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
			}
			s.line = i + 1
			switch s.verb {
			case "run", "shows", "not run":
				if n := len(p.steps); s.atLast && n > 0 {
					p.steps[n-1].repeated = true
				}
				open = &s
			default:
				p.steps = append(p.steps, s)
			}
			continue
		}
		m := fence.FindStringSubmatch(lines[i])
		if m == nil {
			if indented.MatchString(lines[i]) {
				return nil, fmt.Errorf("%s:%d: commands are written between ```sh and ```", file, i+1)
			}
			continue
		}
		indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " "))]
		start := i + 1
		var block []string
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			block = append(block, strings.TrimPrefix(lines[i], indent))
		}
		if i == len(lines) {
			return nil, fmt.Errorf("%s:%d: the block does not end", file, start)
		}
		if open == nil {
			if m[1] == "sh" {
				return nil, fmt.Errorf("%s:%d: commands without a comment above them: `<!-- run on MACHINE -->` or `<!-- not run: REASON -->`", file, start)
			}
			continue
		}
		open.text = strings.Join(block, "\n") + "\n"
		p.steps = append(p.steps, *open)
		open = nil
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: `%s` has no block below it", file, open.line, open.verb)
	}
	return p, nil
}

var machineName = regexp.MustCompile(`^(n[1-9]|lb|ops)$`)

func parseStep(verb, rest string) (step, error) {
	s := step{verb: verb, argument: rest}
	switch verb {
	case "shows at last":
		s.verb, s.atLast = "shows", true
	case "not run":
		if rest == "" {
			return s, errors.New("`not run` needs a reason")
		}
	case "setup":
		if rest != "three nodes" && rest != "three nodes and an agent" && rest != "three nodes and the next release" {
			return s, fmt.Errorf("setup: %q is not `three nodes`, `three nodes and an agent` or `three nodes and the next release`", rest)
		}
	case "run on", "power off", "new disk in":
		if s.verb, _, _ = strings.Cut(verb, " on"); verb == "new disk in" {
			s.verb = "new disk"
		}
		for _, word := range strings.Fields(strings.ReplaceAll(rest, ",", " ")) {
			switch {
			case machineName.MatchString(word):
				s.machines = append(s.machines, word)
			case word == "together" && s.verb == "run":
				s.together = true
			case word == "fails" && s.verb == "run":
				s.fails = true
			default:
				return s, fmt.Errorf("%q is no machine (n1 to n9, lb, ops), and not `together` or `fails`", word)
			}
		}
		if len(s.machines) == 0 {
			return s, errors.New("no machine is named")
		}
	}
	return s, nil
}

// playPage does what a page of docs/operate says, in a site of its own, and checks that it shows what the page says it shows.
func playPage(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePage(file, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.steps) == 0 {
		t.Skip("a page without commands")
	}
	s := newSite(t)
	s.auth = true
	var last []func() result // what the last block does, machine by machine
	var shown string
	for _, step := range p.steps {
		where := fmt.Sprintf("%s:%d", file, step.line)
		switch step.verb {
		case "setup":
			s.setup(step.argument)
		case "run":
			last = nil
			for _, name := range step.machines {
				m := s.machine(name)
				last = append(last, func() result { return m.sh(step.text) })
			}
			shown = s.play(where, step, last)
		case "shows":
			if last == nil {
				t.Fatalf("%s: there is no block of commands above that could show this", where)
			}
			problem := matchShown(step.text, shown)
			if step.atLast {
				eventually(t, "the commands show what is at "+where, func() error {
					var again strings.Builder
					for _, do := range last {
						r := do()
						if r.code != 0 {
							return errors.New(s.delocalized(r.String()))
						}
						again.WriteString(r.stdout + r.stderr)
					}
					shown = s.delocalized(again.String())
					return matchShown(step.text, shown)
				})
				problem = nil
			}
			if problem != nil {
				t.Fatalf("%s: %v", where, problem)
			}
		case "power off":
			for _, name := range step.machines {
				s.machine(name).powerOff()
			}
		case "new disk":
			for _, name := range step.machines {
				s.machine(name).newDisk()
			}
		}
	}
}

// play runs a block on its machines and returns what it printed, in the order of the machines.
func (s *site) play(where string, step step, each []func() result) string {
	s.t.Helper()
	results := make([]result, len(each))
	var all sync.WaitGroup
	for i, do := range each {
		if step.together {
			all.Go(func() { results[i] = do() })
		} else {
			results[i] = do()
		}
	}
	all.Wait()
	var shown strings.Builder
	for _, r := range results {
		if (r.code != 0) != step.fails && !step.repeated {
			s.t.Fatalf("%s: exit code %d\n%s", where, r.code, s.delocalized(r.String()))
		}
		shown.WriteString(r.stdout + r.stderr)
	}
	return s.delocalized(shown.String())
}

// matchShown checks that the lines of want appear in got, in their order, others between them or not. In a line, … stands for
// anything and spaces for any space; a line that is … alone says nothing.
func matchShown(want, got string) error {
	lines := strings.Split(got, "\n")
	at := 0
	for line := range strings.Lines(want) {
		words := strings.Fields(line)
		if len(words) == 0 || len(words) == 1 && words[0] == "…" {
			continue
		}
		for i := range words {
			words[i] = strings.ReplaceAll(regexp.QuoteMeta(words[i]), "…", ".*")
		}
		pattern := regexp.MustCompile(`^\s*` + strings.Join(words, `\s+`) + `\s*$`)
		for at < len(lines) && !pattern.MatchString(lines[at]) {
			at++
		}
		if at == len(lines) {
			return fmt.Errorf("the page shows the line\n%swhich is not, or not in this order, in\n%s", line, got)
		}
		at++
	}
	return nil
}

// setup makes the machines that a page begins with: n1, n2 and n3 installed as docs/operate/install.md says, but in plain text between
// them, running; ops, whose commands reach all of them; with an agent, its unit runs on n1 and serves the queue "default".
func (s *site) setup(what string) {
	s.t.Helper()
	var all sync.WaitGroup
	access := "printf 'SLUICE_AUTH=off\\nSLUICE_INSECURE_HTTP=true\\n' >> /etc/sluice/server.env; sed -i /BOOTSTRAP_TOKEN/d /etc/sluice/server.env"
	if s.auth {
		if s.token == "" { // set up again, the nodes still know the first one
			s.token = api.NewToken()
		}
		access = "echo " + s.token + " > /etc/sluice/admin-token; echo SLUICE_API_KEY=" + s.token + " >> /etc/sluice/agent.env"
	}
	for i := range 3 {
		m := s.machine(fmt.Sprint("n", i+1))
		m.env["SLUICE_API_URL"] = "http://" + m.address() + ":4200/api"
		all.Go(func() {
			if r := m.sh(fmt.Sprintf(`cp deploy/systemd/*.service /etc/systemd/system/
grep -v TLS deploy/systemd/server.env | sed 's/10.0.0.1:/10.0.0.%[1]d:/; s/=n1$/=n%[1]d/' > /etc/sluice/server.env
echo SLUICE_INSECURE=true >> /etc/sluice/server.env
echo a2V5IG9mIHRoZSB0ZXN0cycgbWFjaGluZXMsIDMyIEI= > /etc/sluice/secrets.key
echo a2V5IG9mIHRoZSBnb3NzaXAgaW4gdGhlIHRlc3RzISE= > /etc/sluice/gossip.key
chmod 600 /etc/sluice/*.key
cp deploy/systemd/agent.env /etc/sluice/
%[2]s
%[3]s
sudo systemctl enable --now sluice-server`, i+1, s.more, access)); r.code != 0 {
				s.t.Errorf("set up a node\n%s", r)
			}
		})
	}
	all.Wait()
	ops := s.machine("ops")
	if s.token != "" {
		ops.env["SLUICE_API_KEY"] = s.token // it may have been there before the token
	}
	ops.env["SLUICE_API_URL"] = ops.localized("http://10.0.0.1:4200/api,http://10.0.0.2:4200/api,http://10.0.0.3:4200/api")
	if s.t.Failed() {
		s.t.FailNow()
	}
	eventually(s.t, "three nodes have a vote", func() error {
		r := ops.run("cluster", "members", "--no-headers")
		if strings.Count(r.stdout, "\tvoter\t")+strings.Count(r.stdout, "\tleader\t") != 3 {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})
	if what == "three nodes and the next release" {
		for i := range 3 {
			if err := os.Symlink(nextRelease(s.t), filepath.Join(s.machine(fmt.Sprint("n", i+1)).dir, "sluice-next")); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if what == "three nodes and an agent" {
		if r := ops.sh("sluice work-queue create default"); r.code != 0 {
			s.t.Fatal(r)
		}
		if r := s.machine("n1").sh("sudo systemctl enable --now sluice-agent"); r.code != 0 {
			s.t.Fatal(r)
		}
	}
}
