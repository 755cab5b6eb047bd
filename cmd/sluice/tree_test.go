package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// leaves returns the commands that do something.
func leaves(command *cobra.Command) []*cobra.Command {
	if !command.HasSubCommands() {
		if command.Runnable() {
			return []*cobra.Command{command}
		}
		return nil
	}
	var all []*cobra.Command
	for _, child := range command.Commands() {
		all = append(all, leaves(child)...)
	}
	return all
}

func emptyTree() *cobra.Command {
	return newRootCommand(&app{process: process{out: io.Discard, err: io.Discard}, environment: map[string]string{}})
}

func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	var check func(*cobra.Command)
	check = func(command *cobra.Command) {
		path := command.CommandPath()
		if command.Short == "" || command.Long == "" {
			t.Errorf("%s has no Short or Long", path)
		}
		if command.Runnable() && !strings.Contains(command.Example, "sluice ") {
			t.Errorf("%s has no Example", path)
		}
		if strings.HasSuffix(command.Short, ".") || len(command.Short) > 70 {
			t.Errorf("%s: the Short %q ends with a full stop or is long", path, command.Short)
		}
		for line := range strings.SplitSeq(command.Long, "\n") {
			if len(line) > 128 {
				t.Errorf("%s: a line of Long has %d characters", path, len(line))
			}
		}
		for _, child := range command.Commands() {
			check(child)
		}
	}
	check(emptyTree())
}

func TestTheExamplesAreValidCommandLines(t *testing.T) {
	t.Parallel()
	for _, command := range leaves(emptyTree()) {
		for line := range strings.SplitSeq(command.Example, "\n") {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "sluice ") {
				continue // the completion example is for a shell
			}
			args := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(line))[1:]
			found, rest, err := emptyTree().Find(args)
			if err != nil || found.Name() != command.Name() {
				t.Errorf("%s: %s is %v, %v", command.CommandPath(), line, found.CommandPath(), err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// dataArguments are arguments for the commands that need some, and for which "something" is none.
var dataArguments = map[string][]string{
	"sluice deployment create":                {"testdata/command.yaml"},
	"sluice deployment apply":                 {"testdata/command.yaml"},
	"sluice deployment plan":                  {"testdata/command.yaml"},
	"sluice deployment backfill":              {"something", "--from", "2026-11-01"},
	"sluice deployment schedule pause":        {"something", "else"},
	"sluice deployment schedule resume":       {"something", "else"},
	"sluice deployment schedule delete":       {"something", "else"},
	"sluice work-queue set-concurrency-limit": {"q", "1"},
	"sluice work-queue edit":                  {"q", "--name", "r"},
	"sluice block create":                     {"b", "--spec", "s"},
	"sluice block edit":                       {"b", "--name", "c"},
	"sluice flow edit":                        {"f", "--tag", "t"},
	"sluice flow-run edit":                    {"r", "--name", "n"},
	"sluice api":                              {"GET", "/cluster"},
	"sluice flow-run set-state":               {"--to", "FAILED", "something"},
	"sluice concurrency-limit create":         {"database", "2"},
	"sluice token create":                     {"--role", "viewer", "something"},
	"sluice artifact create":                  {"k", "--data", "x", "--run", "01a20ae9-5e6f-7eb8-a9fe-5e510e068989"},
	"sluice retention set":                    {"--runs-max-age", "30d"},
	"sluice deployment edit":                  {"d", "--priority", "1"},
}

func TestEveryDataCommandTellsErrorsAsJSONWhenAskedForJSON(t *testing.T) {
	t.Parallel()
	address := nowhere(t)
	for _, command := range leaves(emptyTree()) {
		path := command.CommandPath()
		switch path {
		case "sluice bench all", "sluice bench go", "sluice bench million", "sluice bench cluster", "sluice bench failover", "sluice bench schedules", "sluice cluster tls init", "sluice cluster recover", "sluice snapshot inspect", "sluice snapshot restore", "sluice token generate", "sluice token recover":
			continue // they start their own servers, or look at files first
		}
		switch strings.Fields(path)[1] {
		case "dev", "config", "profile", "version", "completion", "help", "doctor", "python":
			continue // they ask no server for data, or have tests of their own
		}
		switch path {
		case "sluice run": // what follows its arguments is the command's
			continue
		case "sluice server start", "sluice orion start", "sluice agent start", "sluice agent supervise", "sluice storage relay":
			continue // they are servers, or say hello first
		}
		args, special := dataArguments[path]
		for _, some := range [][]string{{"something"}, {"something", "something"}} {
			if !special && args == nil && (command.Args == nil || command.Args(command, some) == nil) {
				args = some
			}
		}
		for _, format := range []string{"json", "jsonl"} {
			t.Run(path+" -o "+format, func(t *testing.T) {
				t.Parallel()
				line := append(strings.Fields(path)[1:], args...)
				got := newShell(t, address).run(append(line, "-o", format)...)
				if got.code != exitUnreachable || got.out != "" {
					t.Errorf("exit %d, stdout %q", got.code, got.out)
				}
				lines := strings.Split(strings.TrimSpace(got.err), "\n")
				var problem struct {
					Error string
					Kind  string
					Hint  string
				}
				if err := json.Unmarshal([]byte(lines[len(lines)-1]), &problem); err != nil {
					t.Fatalf("stderr %s: %v", got.err, err)
				}
				if !strings.Contains(problem.Error, address) || problem.Kind != "unreachable" || problem.Hint == "" {
					t.Errorf("got %+v", problem)
				}
			})
		}
	}
}

func TestWrongCommandLinesEndWithTheUsageCode(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"deploymint":                         "there is no command 'sluice deploymint'; did you mean deployment?",
		"work-queue lss":                     "there is no command 'sluice work-queue lss'; did you mean ls?",
		"work-queue ls --nope":               "unknown flag: --nope",
		"work-queue inspect":                 "sluice work-queue inspect takes QUEUE; it was given none",
		"work-queue ls -o xml":               "-o is \"xml\"; it is one of table, wide, plain, json",
		"work-queue ls --color red":          "--color is \"red\"",
		"work-queue ls --log-level loud":     "--log-level is \"loud\"",
		"work-queue create q --flow-runner":  "flag needs an argument",
		"version of-what":                    "sluice version takes no arguments; it was given 'of-what'",
		"work-queue preview q --hours x":     "--hours is 'x'; it is a number",
		"deployment run d --start-in 5":      "--start-in is '5'; it is a time like 90s, 15m or 2h",
		"token create ci":                    "needed and not given: --role",
		"flow-run set-state tan-lion":        "--to is missing",
		"deployment edit d":                  "nothing to change",
		"deployment edit d --if-revision 3":  "nothing to change",
		"block-spec create x --fields {":     "--fields is no JSON",
		"config set NOPE=1":                  "unknown variable 'NOPE'",
		"config set SLUICE_API_URK=http://h": "did you mean SLUICE_API_URL?",
		"completion tcsh":                    "takes bash|zsh|fish|powershell; it was given 'tcsh'",
	} {
		got := newShell(t, nowhere(t)).run(strings.Fields(line)...)
		if got.code != exitUsage || !strings.HasPrefix(got.err, "error: ") || !strings.Contains(got.err, want) || !strings.Contains(got.err, "\ntry: sluice") {
			t.Errorf("%s: exit %d\n%s", line, got.code, got.err)
		}
	}
}

func TestHelpExplainsTheExitCodes(t *testing.T) {
	t.Parallel()
	help := newShell(t, "").ok("help", "exit-codes")
	for _, code := range []string{"0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "10 ", "11 ", "12 ", "124 ", "130 "} {
		if !strings.Contains(help, "\n    "+code) {
			t.Errorf("no code %s in\n%s", code, help)
		}
	}
}

func TestCompletionScriptsForEveryShell(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "zsh", "fish", "powershell"} {
		if script := newShell(t, "").ok("completion", name); !strings.Contains(script, "sluice") {
			t.Errorf("%s: %d bytes", name, len(script))
		}
	}
	s := newShell(t, replay(t, "07-work-queue-ls").api())
	if got := s.ok("__complete", "work-queue", "pause", ""); !strings.Contains(got, "tutorial_queue") {
		t.Errorf("the shell is offered %q", got)
	}
	for _, flag := range []string{"--state", "--deployment", "--color", "--output"} {
		if got := s.run("__complete", "flow-run", "ls", flag, ""); got.code != exitOK {
			t.Errorf("%s: exit %d %s", flag, got.code, got.err)
		}
	}
}
