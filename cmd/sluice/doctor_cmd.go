package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// How grave a finding is.
const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingError   = "error"
)

// finding is one thing that the doctor looked at.
type finding struct {
	Check  string `json:"check"` // what was looked at
	Status string `json:"status"`
	Text   string `json:"text"`
	Try    string `json:"try,omitempty"` // the next command
}

// diagnosis is everything that sluice doctor found.
type diagnosis struct {
	Status   string    `json:"status"` // the gravest
	Findings []finding `json:"findings"`
}

func (d *diagnosis) add(check, status, try, format string, args ...any) {
	d.Findings = append(d.Findings, finding{check, status, fmt.Sprintf(format, args...), try})
	if status == findingError || status == findingWarning && d.Status == findingOK {
		d.Status = status
	}
}

const (
	// doctorPatience bounds each question.
	doctorPatience = 5 * time.Second
	// mostSkew is by how much this machine's clock may be wrong; answers name the time in seconds.
	mostSkew = 3 * time.Second
	// namedAtMost is how many deployments one kind of finding is told of.
	namedAtMost = 10
)

func newDoctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps Sluice from working here, and say what to do",
		Long: `Look for what keeps Sluice from working: profile, addresses and token, each server's version and clock, the cluster's health and
room on disks, Python, and whether every deployment has a work queue with a live agent. Nothing is changed.

It ends with code 0 when nothing is wrong, also with warnings, and with 1 after an error; with 6 when no server answers.`,
		Example: "  sluice doctor\n  sluice doctor -p production -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			d := &diagnosis{Status: findingOK}
			answers := a.examine(command.Context(), d)
			if command.Context().Err() != nil {
				return command.Context().Err()
			}
			if err := a.showDiagnosis(d); err != nil {
				return err
			}
			switch {
			case !answers:
				return &failure{code: exitUnreachable, err: errors.New("no server answers"), silent: true}
			case d.Status == findingError:
				return &failure{code: exitError, err: errors.New("something is wrong"), silent: true}
			}
			return nil
		},
	}
}

func (a *app) showDiagnosis(d *diagnosis) error {
	if a.structured() || a.quiet {
		return a.printObject(d, d.Status, d.Status)
	}
	colours := map[string]string{findingOK: sgrGreen, findingWarning: sgrYellow, findingError: sgrRed}
	for _, f := range d.Findings {
		status := pad(f.Status, 8)
		if a.colored() {
			status = style(colours[f.Status], status)
		}
		a.say("%s %s: %s", status, f.Check, f.Text)
		if f.Try != "" {
			a.say("         try: %s", f.Try)
		}
	}
	if d.Status == findingOK {
		a.say("\nNothing is wrong.")
	}
	return nil
}

// examine looks at everything, and reports whether a server answers.
func (a *app) examine(ctx context.Context, d *diagnosis) bool {
	a.examineMachine(ctx, d)
	name := a.settings.profile
	list, source := a.settings.lookup(settingAPIURL)
	addresses, err := client.ParseAddresses(list)
	if err != nil {
		d.add("addresses", findingError, "sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api", "%s (from %s): %v", settingAPIURL, source, err)
		return false
	}
	d.add("profile", findingOK, "", "'%s'; the servers are %s (from %s)", name, strings.Join(addresses, ", "), source)
	var first *client.Client
	versions := map[string][]string{}
	for _, address := range addresses {
		c, err := a.newClient([]string{address}, 0)
		if err != nil {
			d.add("server "+address, findingError, "", "%v", err)
			continue
		}
		defer c.Close()
		version, ok := a.examineServer(ctx, d, c, address, len(addresses) > 1)
		if version != "" {
			versions[version] = append(versions[version], address)
		}
		if ok && first == nil {
			first = c
		}
	}
	if len(versions) > 1 {
		d.add("versions", findingWarning, "sluice cluster status", "the servers have different versions, as in a rolling upgrade: %v", versions)
	}
	if first == nil {
		return len(versions) > 0
	}
	a.examineCluster(ctx, d, first)
	a.examineDeployments(ctx, d, first)
	return true
}

func (a *app) examineMachine(ctx context.Context, d *diagnosis) {
	const set = "sluice config set SLUICE_PYTHON=/path/to/python3"
	interpreter, err := a.interpreter()
	if err != nil {
		d.add("python", findingWarning, set, "%v; Python flows need it, commands and Go programs do not", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, interpreter, "-c", "import sys; print(*sys.version_info[:3], sep='.', end=' '); print(int(sys.version_info >= (3, 9)))").Output()
	version, enough, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	switch {
	case err != nil:
		d.add("python", findingWarning, set, "%s does not run: %v; Python flows need it, commands and Go programs do not", interpreter, err)
	case enough != "1":
		d.add("python", findingWarning, set, "%s is version %s; Python flows need 3.9 or newer", interpreter, version)
	default:
		d.add("python", findingOK, "", "%s, version %s", interpreter, version)
	}
}

// examineServer asks one address. It returns its version, and whether it answers this user.
func (a *app) examineServer(ctx context.Context, d *diagnosis, c *client.Client, address string, more bool) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	check := "server " + address
	asked := time.Now()
	response, err := c.Open(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		grave, try := findingError, judge(err).hint
		if more {
			grave = findingWarning
		}
		d.add(check, grave, cmp.Or(try, "sluice server start"), "it does not answer: %v", err)
		return "", false
	}
	took := time.Since(asked)
	_ = response.Body.Close()
	if now, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		// The header has whole seconds: the middle of its second is at most half a second wrong.
		if skew := now.Add(500 * time.Millisecond).Sub(asked.Add(took / 2)).Round(time.Second); skew.Abs() > mostSkew {
			d.add("clock", findingWarning, "timedatectl set-ntp true", "the clock of %s is %s off this machine's: times that are relative to now are wrong", address, skew.Abs())
		}
	}
	version, err := c.ServerVersion(ctx)
	if api.KindOf(err) == api.KindUnauthenticated || api.KindOf(err) == api.KindForbidden {
		d.add(check, findingError, cmp.Or(judge(err).hint, "sluice config set SLUICE_API_KEY=TOKEN"), "it answers and does not take this user's token: %v", err)
		return "unknown", false
	}
	if err != nil {
		d.add(check, findingError, judge(err).hint, "ask for its version: %v", err)
		return "unknown", false
	}
	who, err := c.WhoAmI(ctx)
	if err != nil {
		d.add(check, findingError, cmp.Or(judge(err).hint, "sluice config set SLUICE_API_KEY=TOKEN"), "version %s; it does not take this user's token: %v", version, err)
		return version, false
	}
	identity := "it asks for no tokens"
	if who.Authentication {
		identity = fmt.Sprintf("this user is '%s' with role %s", who.Name, who.Role)
	}
	d.add(check, findingOK, "", "version %s, answers in %s; %s", version, took.Round(100*time.Microsecond), identity)
	return version, true
}

func (a *app) examineCluster(ctx context.Context, d *diagnosis, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	health, err := c.ClusterHealth(ctx)
	if err != nil {
		d.add("cluster", findingError, cmp.Or(judge(err).hint, "sluice cluster health"), "ask for its health: %v", err)
		return
	}
	for _, r := range health.Reasons {
		grave := findingWarning
		if r.Status == api.ClusterDown {
			grave = findingError
		}
		text := r.Text
		if r.Member != "" {
			text = "node " + r.Member + ": " + text
		}
		d.add("cluster", grave, cmp.Or(r.Try, "sluice cluster health"), "%s", text)
	}
	if len(health.Reasons) == 0 {
		d.add("cluster", findingOK, "", "%s: %d of %d voters are well", health.Status, health.VotersLive, health.Voters)
	}
	for _, m := range health.Members {
		if m.DiskFree == nil || m.DiskSize == nil || *m.DiskSize == 0 || m.DiskRefuses != "" { // what it refuses is a reason already
			continue
		}
		share := 100 * float64(*m.DiskFree) / float64(*m.DiskSize)
		grave, try := findingOK, ""
		if m.DiskLowWater != nil && *m.DiskFree < 2**m.DiskLowWater {
			grave, try = findingWarning, "sluice retention preview"
		}
		d.add("disk of "+cmp.Or(m.Name, m.ID), grave, try, "%.1f GB free (%.0f %%)", float64(*m.DiskFree)/1e9, share)
	}
}

// examineDeployments looks whether somebody would execute each deployment's runs.
func (a *app) examineDeployments(ctx context.Context, d *diagnosis, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, 4*doctorPatience)
	defer cancel()
	deployments, err := allDeployments(ctx, c, api.Filters{})
	var queues []api.WorkQueue
	if err == nil {
		queues, err = client.Each(func(page api.Page) ([]api.WorkQueue, error) { return c.FilterWorkQueues(ctx, page) })
	}
	var agents []api.Agent
	if err == nil {
		agents, err = c.FilterAgents(ctx)
	}
	if err != nil {
		d.add("deployments", findingError, judge(err).hint, "list deployments, work queues and agents: %v", err)
		return
	}
	if len(deployments) == 0 {
		d.add("deployments", findingOK, "sluice deployment create FILE", "there is none yet")
		return
	}
	before := len(d.Findings)
	told := map[string]int{}
	for _, deployment := range deployments {
		kind, try, text := serviceOf(&deployment, queues, agents)
		if kind == "" {
			continue
		}
		if told[kind]++; told[kind] <= namedAtMost {
			d.add("deployment "+deployment.title(), findingWarning, try, "%s", text)
		}
	}
	for kind, n := range told {
		if n > namedAtMost {
			d.add("deployments", findingWarning, "sluice deployment ls", "%d more have the same problem: %s", n-namedAtMost, kind)
		}
	}
	if len(d.Findings) == before {
		d.add("deployments", findingOK, "", "each of the %d has a work queue with a live agent", len(deployments))
	}
}

// serviceOf says why nobody executes the runs of a deployment; "" when somebody does.
func serviceOf(d *namedDeployment, queues []api.WorkQueue, agents []api.Agent) (kind, try, text string) {
	var matching, open []api.WorkQueue
	for _, q := range queues {
		if servesDeployment(q.Filter, d) {
			matching = append(matching, q)
			if !q.IsPaused && (q.ConcurrencyLimit == nil || *q.ConcurrencyLimit > 0) {
				open = append(open, q)
			}
		}
	}
	switch {
	case len(matching) == 0:
		return "no work queue matches", "sluice work-queue create --deployment " + d.ID.String() + " NAME",
			"no work queue takes its runs; it has the tags " + cmp.Or(strings.Join(d.Tags, ", "), "(none)")
	case len(open) == 0:
		return "the queue is paused", "sluice work-queue resume " + matching[0].ID.String(), fmt.Sprintf("work queue '%s' would take its runs, and is paused or has the limit 0", matching[0].Name)
	}
	drained := ""
	for _, g := range agents {
		if !g.Live || !slices.ContainsFunc(open, func(q api.WorkQueue) bool { return slices.Contains(g.WorkQueueIDs, q.ID) }) {
			continue
		}
		if !g.Draining {
			return "", "", ""
		}
		drained = g.Name
	}
	if drained != "" {
		return "all agents are drained", "sluice agent undrain " + drained, fmt.Sprintf("every live agent of work queue '%s' is drained", open[0].Name)
	}
	return "no agent", "sluice agent start " + open[0].ID.String(), fmt.Sprintf("no live agent serves work queue '%s' (agents of Orion are not known)", open[0].Name)
}

// servesDeployment reports whether a work queue takes the runs that a deployment makes.
func servesDeployment(f api.QueueFilter, d *namedDeployment) bool {
	for _, tag := range f.Tags {
		if !slices.Contains(d.Tags, tag) {
			return false
		}
	}
	if f.DeploymentIDs != nil && !slices.Contains(f.DeploymentIDs, d.ID) {
		return false
	}
	return f.FlowRunnerTypes == nil || d.FlowRunner.Type != nil && slices.Contains(f.FlowRunnerTypes, *d.FlowRunner.Type)
}
