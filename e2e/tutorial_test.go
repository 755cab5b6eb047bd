//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	leoCall          = "\nleonardo_dicapriflow(\"Leo\")\n"
	leoCallCommented = "\n# leonardo_dicapriflow(\"Leo\")\n"
	leoFlow          = `from sluice import flow, task, get_run_logger

@task
def log_message(name):
    logger = get_run_logger()
    logger.info(f"Hello {name}!")
    return

@flow(name="leonardo_dicapriflow")
def leonardo_dicapriflow(name: str):
    log_message(name)
    return
`
	leoDeployment = `from sluice.deployments import DeploymentSpec

DeploymentSpec(
    name="leonardo-deployment",
    flow_location="./leo_flow.py",
    tags=['tutorial','test'],
    parameters={'name':'Leo'}
)
`
	bothDeployments = `from sluice.deployments import DeploymentSpec
from sluice.flow_runners import SubprocessFlowRunner

DeploymentSpec(
    name="leonardo-deployment",
    flow_location="./leo_flow.py",
    tags=['tutorial','test'],
    parameters={'name':'Leo'}
)

DeploymentSpec(
    name="marvin-deployment",
    flow_location="./leo_flow.py",
    tags=['tutorial','dev'],
    flow_runner=SubprocessFlowRunner(),
    parameters={'name':'Marvin'}
)
`
	leonardo = "leonardo_dicapriflow/leonardo-deployment"
	marvin   = "leonardo_dicapriflow/marvin-deployment"
)

// tutorial is the reader's progress: the author's shell, with the files; another machine's, where the code can only come from storage; the
// server between them.
type tutorial struct {
	*transcripts
	author, elsewhere *shell
	server            *server  // what the reader's clients talk to; its process is the terminal one, or that of make cluster
	platform          platform // what serves there
	leo               string   // ids
	queue             string
}

// platform is what the tutorial is played on.
type platform interface {
	// start starts it, for the first time or again after stop, and waits until it answers at the tutorial's address.
	start(u *tutorial)
	// stop stops it as its user does.
	stop(u *tutorial)
}

// TestTheTutorial types the tutorial's commands from the first to the last.
func TestTheTutorial(t *testing.T) {
	t.Parallel()
	t.Run("on one node", func(t *testing.T) {
		t.Parallel()
		playTutorial(t, freeAddress(t), &oneNode{})
	})
	t.Run("on the three nodes of make cluster, through HAProxy", func(t *testing.T) {
		t.Parallel()
		needs(t, "haproxy", "haproxy")
		s := newSite(t)
		playTutorial(t, s.prefix+"1:4200", &localCluster{site: s})
	})
	t.Run("on three nodes, through nginx", func(t *testing.T) {
		t.Parallel()
		needs(t, "nginx", "nginx-light")
		s := newSite(t)
		playTutorial(t, s.prefix+"10:4200", &balancedNodes{site: s})
	})
}

func playTutorial(t *testing.T, address string, on platform) {
	t.Helper()
	u := newTutorial(t, address, on)
	u.runsTheScript()
	u.startsTheServer()
	u.runsTheScriptAgain()
	u.createsAStorage()
	u.createsTheDeployment()
	u.executesItElsewhere()
	u.createsAQueue()
	agent := u.startsAnAgent()
	u.runsItQuickly(agent)
	u.addsMarvin()
	u.createsBothAgain()
	u.separatesByTag()
	agent.interrupt()
	u.saysGoodbye(agent, "Agent stopped!")
	agent = u.renamesTheQueue()
	u.pausesTheQueue()
	u.cleansUp(agent)
	u.startsAgainUnderTheOtherName()
	u.finish()
}

func newTutorial(t *testing.T, address string, on platform) *tutorial {
	t.Helper()
	u := &tutorial{author: newShell(t), elsewhere: newShell(t), platform: on}
	// As typed, the commands have no flags: the environment keeps the tests of one machine apart.
	u.author.env["SLUICE_HTTP_ADDR"], u.author.env["SLUICE_INTERNAL_ADDR"], u.author.env["SLUICE_GOSSIP_ADDR"] = address, freeAddress(t), freeAddress(t)
	u.server = &server{t: t, shell: u.author, dataDir: filepath.Join(u.author.home, ".sluice", "data"), address: address}
	u.elsewhere.env["SLUICE_API_URL"] = u.server.apiURL()
	u.transcripts = newTranscripts(t, address, "127.0.0.1:4200", filepath.Dir(u.author.dir), "<directory>")
	return u
}

func (u *tutorial) runsTheScript() {
	u.author.write("leo_flow.py", leoFlow+leoCall)
	r := u.author.script("leo_flow.py")
	if r.code != 0 {
		u.t.Fatalf("the script failed\n%s", r)
	}
	u.compare("python leo_flow.py", r.stdout+r.stderr)
}

func (u *tutorial) startsTheServer() {
	u.platform.start(u)
	set := "SLUICE_API_URL=" + u.server.apiURL()
	u.compare("prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api", u.author.shown("config", "set", set))
	if out := u.author.ok("config", "view"); !strings.Contains(out, u.server.apiURL()) {
		u.t.Errorf("config view does not show the address that was set:\n%s", out)
	}
}

// runsTheScriptAgain on the server that is configured now; the run on the server that was started for the first one is still known.
func (u *tutorial) runsTheScriptAgain() {
	r := u.author.script("leo_flow.py")
	u.compare("python leo_flow.py", r.stdout+r.stderr)
	scripts := 1
	if _, shared := u.platform.(*oneNode); shared { // its data directory is the one the first script used
		scripts = 2
	}
	runs := u.server.list("/flow_runs/filter", object{"flows": object{"name": object{"any_": []string{"leonardo_dicapriflow"}}}})
	if len(runs) != scripts || runs[0]["state_type"] != "COMPLETED" || runs[scripts-1]["state_type"] != "COMPLETED" {
		u.t.Errorf("the server knows the runs %v, want those of %d scripts, completed", runs, scripts)
	}
}

func (u *tutorial) createsAStorage() {
	p := u.author.terminal("storage", "create")
	for _, answer := range []struct{ question, keys string }{
		{`Select a storage type to create: $`, "1"},
		{`BASE PATH: $`, filepath.Join(filepath.Dir(u.author.dir), "storage")},
		{`KEY TYPE \(optional\): $`, ""},
		{`OPTIONS \(optional\): $`, ""},
		{`Choose a name for this storage configuration: $`, "benjamin-bucket"},
		{`\[Y/n\]: $`, "y"},
	} {
		p.waitFor(answer.question)
		p.typeIn(answer.keys + "\n")
	}
	if code := p.wait(); code != 0 {
		u.t.Fatalf("storage create ended with %d\n%s", code, p.output())
	}
	u.compare("prefect storage create", p.output())
	contains(u.t, u.author.shown("storage", "ls"), "benjamin-bucket", "File Storage")
}

func (u *tutorial) createsTheDeployment() {
	u.author.write("leo_flow.py", leoFlow+leoCallCommented)
	u.author.write("leo_deployment.py", leoDeployment)
	u.compare("prefect deployment create leo_deployment.py", u.author.shown("deployment", "create", "leo_deployment.py"))
	u.compare("prefect deployment ls", u.author.shown("deployment", "ls"))
	u.compare("prefect deployment inspect 'leonardo_dicapriflow/leonardo-deployment'", u.author.shown("deployment", "inspect", leonardo))

	deployment := u.deployment(leonardo)
	u.leo = deployment["id"].(string)
	if flowData := deployment["flow_data"].(object); flowData["encoding"] != "blockstorage" {
		u.t.Errorf("the code is not in the storage: %v", flowData)
	}
	u.plainWhenPiped(u.author.ok("deployment", "ls"), leonardo+"\t"+u.leo)
}

// plainWhenPiped checks that a list has one line of the text, and nothing that is drawn.
func (u *tutorial) plainWhenPiped(out, line string) {
	u.t.Helper()
	if strings.ContainsAny(out, "│┃━\x1b") || !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(line)).MatchString(out) {
		u.t.Errorf("piped output is not plain, or has no line %q:\n%s", line, out)
	}
}

// deployment returns what inspect prints.
func (u *tutorial) deployment(name string) object {
	u.t.Helper()
	return decode[object](u.t, u.author.ok("deployment", "inspect", name))
}

// deleteFiles removes the author's Python files: from now on the code is in storage only.
func (u *tutorial) deleteFiles() {
	u.t.Helper()
	files, err := filepath.Glob(filepath.Join(u.author.dir, "*.py"))
	if err != nil || len(files) != 2 {
		u.t.Fatalf("found %v (%v), want leo_flow.py and leo_deployment.py", files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			u.t.Fatal(err)
		}
	}
}

func (u *tutorial) executesItElsewhere() {
	u.deleteFiles()
	if entries, err := os.ReadDir(u.elsewhere.dir); err != nil || len(entries) > 0 {
		u.t.Fatalf("the other shell's directory should be empty: %v, %v", entries, err)
	}
	u.compare("prefect deployment execute leonardo_dicapriflow/leonardo-deployment", u.elsewhere.shown("deployment", "execute", leonardo))
}

func (u *tutorial) createsAQueue() {
	out := u.author.shown("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
	u.compare("prefect work-queue create --tag tutorial tutorial_queue", out)
	if u.queue = masks[0].what.FindString(out); u.queue == "" {
		u.t.Fatalf("work-queue create prints no id:\n%s", out)
	}
	u.compare("prefect work-queue ls", u.author.shown("work-queue", "ls"))
	u.plainWhenPiped(u.author.ok("work-queue", "ls"), u.queue+"\ttutorial_queue")
}

func (u *tutorial) startsAnAgent() *process {
	agent := u.elsewhere.terminal("agent", "start", u.queue)
	agent.waitFor(`Looking for work from .*\n`)
	u.compare("prefect agent start '3461754d-e411-4155-9bc7-a0145b6974a0'", agent.output())
	return agent
}

// runsItQuickly presses the UI's button.
func (u *tutorial) runsItQuickly(agent *process) {
	run := u.server.quickRun(u.leo)
	agent.waitFor(`'` + run + `' exited.*\n`)
	_, lines, _ := strings.Cut(agent.output(), "Agent started!")
	u.compare("prefect agent start '3461754d-e411-4155-9bc7-a0145b6974a0' (after Quick Run)", "Agent started!"+lines)

	found := u.server.waitState(run, "COMPLETED")
	if tags, _ := json.Marshal(found["tags"]); string(tags) != `["tutorial","test"]` {
		u.t.Errorf("the run has the tags %s, want those of the specification", tags)
	}
	contains(u.t, u.author.ok("flow-run", "logs", run), "Hello Leo!")
	contains(u.t, u.author.ok("flow-run", "ls"), run)
	contains(u.t, strings.Join(u.server.taskRuns(run), " "), "log_message-718c3f46-0")
}

// taskRuns returns the names of a flow run's task runs.
func (s *server) taskRuns(run string) []string {
	s.t.Helper()
	var names []string
	for _, task := range s.list("/task_runs/filter", object{"task_runs": object{}, "flow_runs": object{"id": object{"any_": []string{run}}}}) {
		names = append(names, task["name"].(string))
	}
	return names
}

func (u *tutorial) addsMarvin() {
	before, runs := u.deployment(leonardo), u.runsOf(u.leo)
	u.author.write("leo_flow.py", leoFlow+leoCallCommented)
	u.author.write("leo_deployment.py", bothDeployments)
	contains(u.t, u.author.ok("deployment", "create", "leo_deployment.py"), "Created deployment '"+marvin+"'.", "Deployments: 1 created, 1 unchanged.")
	u.untouched(before, runs)
	if d := u.deployment(marvin); d["flow_runner"].(object)["type"] != "subprocess" {
		u.t.Errorf("marvin-deployment has the flow runner %v", d["flow_runner"])
	}
}

// createsBothAgain repeats what changes nothing.
func (u *tutorial) createsBothAgain() {
	before, runs, other := u.deployment(leonardo), u.runsOf(u.leo), u.deployment(marvin)
	contains(u.t, u.author.ok("deployment", "create", "leo_deployment.py"), "Deployments: 2 unchanged.")
	u.untouched(before, runs)
	if again := u.deployment(marvin); !equalJSON(other, again) {
		u.t.Errorf("creating it again changed marvin-deployment from\n%v to\n%v", other, again)
	}
	u.deleteFiles()
}

// runsOf returns a deployment's flow runs, as they are.
func (u *tutorial) runsOf(deployment string) []object {
	u.t.Helper()
	runs := u.server.list("/flow_runs/filter", object{"deployments": object{"id": object{"any_": []string{deployment}}}, "sort": "ID_DESC"})
	for _, run := range runs { // these two grow with the clock for runs that wait
		delete(run, "estimated_start_time_delta")
		delete(run, "estimated_run_time")
	}
	return runs
}

func (u *tutorial) untouched(before object, runs []object) {
	u.t.Helper()
	if now := u.deployment(leonardo); !equalJSON(before, now) {
		u.t.Errorf("leonardo-deployment changed from\n%v to\n%v", before, now)
	}
	if now := u.runsOf(u.leo); len(runs) == 0 || !equalJSON(runs, now) {
		u.t.Errorf("leonardo-deployment's runs changed from\n%v to\n%v", runs, now)
	}
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// separatesByTag shows that tutorial_queue serves both deployments and a queue with the tag dev only marvin.
func (u *tutorial) separatesByTag() {
	u.completes(u.create(marvin), "Hello Marvin!")
	u.completes(u.create(leonardo), "Hello Leo!")

	u.author.ok("work-queue", "pause", u.queue)
	u.author.ok("work-queue", "create", "-t", "dev", "dev_queue")
	leo, other := u.create(leonardo), u.create(marvin)
	if waiting := strings.Fields(u.author.ok("work-queue", "preview", "dev_queue", "-q")); len(waiting) != 1 || waiting[0] != other {
		u.t.Errorf("dev_queue would give out %v, want %s alone", waiting, other)
	}
	agent := u.elsewhere.startAgent("dev_queue")
	u.completes(other, "Hello Marvin!")
	// Had the agent wanted Leo, it would have taken him with Marvin or before.
	contains(u.t, u.author.ok("flow-run", "explain", leo), "paused")
	if strings.Contains(agent.output(), leo) || u.server.get("/flow_runs/" + leo)["state"].(object)["type"] != "SCHEDULED" {
		u.t.Errorf("dev_queue's agent took leonardo's run\n%s", agent.output())
	}
	agent.interrupt()
	u.saysGoodbye(agent, "Agent stopped!")
	u.author.ok("work-queue", "delete", "dev_queue")
	u.author.ok("work-queue", "resume", u.queue)
	u.completes(leo, "Hello Leo!")
}

// create makes a run with the command and returns its id.
func (u *tutorial) create(deployment string) string {
	u.t.Helper()
	return strings.TrimSpace(u.author.ok("deployment", "run", "-q", deployment))
}

// completes waits until a run has completed and logged the greeting.
func (u *tutorial) completes(run, greeting string) {
	u.t.Helper()
	u.server.waitState(run, "COMPLETED")
	contains(u.t, u.author.ok("flow-run", "logs", run), greeting)
}

// renamesTheQueue under an agent that was started with the old name.
func (u *tutorial) renamesTheQueue() *process {
	agent := u.elsewhere.terminal("agent", "start", "tutorial_queue")
	agent.waitFor(`Looking for work from queue 'tutorial_queue'`)
	u.author.ok("work-queue", "edit", "tutorial_queue", "--name", "lessons")
	contains(u.t, u.author.shown("work-queue", "ls"), "│ lessons")
	run := u.create(leonardo)
	agent.waitFor(`'` + run + `' exited cleanly`)
	u.completes(run, "Hello Leo!")
	return agent
}

func (u *tutorial) pausesTheQueue() {
	contains(u.t, u.author.shown("work-queue", "pause", u.queue), "Paused work queue "+u.queue)
	contains(u.t, u.author.shown("work-queue", "ls"), "lessons (**)")
	run := u.create(leonardo)
	contains(u.t, u.author.ok("flow-run", "explain", run), "paused", "work-queue resume")
	u.author.ok("work-queue", "resume", u.queue)
	u.completes(run, "Hello Leo!")
}

// saysGoodbye waits for the end of an interrupted process and checks its last line.
func (u *tutorial) saysGoodbye(p *process, line string) {
	u.t.Helper()
	if code := p.wait(); code != 0 {
		u.t.Errorf("%s: exit code %d after Ctrl-C\n%s", p.name, code, p.output())
	}
	if lines := strings.Split(strings.TrimSpace(p.output()), "\n"); lines[len(lines)-1] != line {
		u.t.Errorf("%s: the last line after Ctrl-C is %q, want %q\n%s", p.name, lines[len(lines)-1], line, p.output())
	}
}

func (u *tutorial) cleansUp(agent *process) {
	agent.interrupt()
	u.saysGoodbye(agent, "Agent stopped!")
	u.compare("prefect work-queue delete '3461754d-e411-4155-9bc7-a0145b6974a0'", u.author.shown("work-queue", "delete", u.queue))
	if out := u.author.ok("work-queue", "ls"); strings.Contains(out, u.queue) {
		u.t.Errorf("the deleted queue is still listed:\n%s", out)
	}
	u.platform.stop(u)
}

// startsAgainUnderTheOtherName shows that what was stored is there.
func (u *tutorial) startsAgainUnderTheOtherName() {
	u.platform.start(u)
	contains(u.t, u.author.ok("deployment", "ls"), leonardo, marvin)
	contains(u.t, u.author.shown("deployment", "execute", marvin), "Hello Marvin!")
	u.platform.stop(u)
}
