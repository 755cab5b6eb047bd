//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/internal/promtest"
)

func TestTheRulesOfPrometheus(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"check", "config", "prometheus.yml"}, {"test", "rules", "rules_test.yml"}} {
		command := exec.Command("promtool", args...)
		command.Dir = filepath.Join(promtest.Folder(), "prometheus")
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (of Debian's prometheus; make test-deps installs it): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	rules := read(t, promtest.Folder(), "prometheus", "rules.yml")
	unit := read(t, promtest.Folder(), "prometheus", "rules_test.yml")
	runbook := read(t, built.root, "docs", "operate", "runbook.md")
	alerts := regexp.MustCompile(`(?s)- alert: (\w+)\n(.*?runbook_url: \S+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 15 {
		t.Fatalf("only %d alerts were found", len(alerts))
	}
	for _, a := range alerts {
		name, rest := a[1], a[2]
		for _, part := range []string{"severity: ", "summary: ", "description: "} {
			if !strings.Contains(rest, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		anchor := regexp.MustCompile(`https://github\.com/sluice-dev/sluice/blob/main/docs/operate/runbook\.md#(\S+)`).FindStringSubmatch(rest)
		if anchor == nil || !strings.Contains(runbook, "\n## "+heading(anchor[1], runbook)+"\n") {
			t.Errorf("%s links to no section of the runbook: %v", name, anchor)
		}
		if !strings.Contains(runbook, name) {
			t.Errorf("the runbook does not name %s", name)
		}
		for _, end := range []string{" fires", " stays quiet"} {
			if !strings.Contains(unit, name+end) {
				t.Errorf("rules_test.yml does not say when %s%s", name, end)
			}
		}
	}
}

// heading is the heading of a page that has this anchor, "" if none has.
func heading(anchor, page string) string {
	for line := range strings.SplitSeq(page, "\n") {
		title, is := strings.CutPrefix(line, "## ")
		if is && strings.ReplaceAll(strings.ToLower(title), " ", "-") == anchor {
			return title
		}
	}
	return ""
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile(filepath.Join(path...))))
}

// slowFsync is a fact of the disk under the test, which others load meanwhile: it may fire here. That it fires and rests when it
// should is in deploy/prometheus/rules_test.yml.
const slowFsync = "SluiceSlowFsync"

// TestAlertsOfACluster has a real Prometheus watch real nodes that are killed, and work queues without agents.
func TestAlertsOfACluster(t *testing.T) {
	t.Parallel()
	c := newNodes(t, 3, "--insecure")
	stray := newServer(t, "--insecure", "--join", freeAddress(t)) // finds nobody
	forgetful := c.all[0]
	itsKeys := forgetful.ownKeys()
	c.start()
	var targets []string
	for _, s := range append(slices.Clone(c.all), stray) {
		targets = append(targets, s.address)
	}
	prometheus := promtest.Start(t, map[string][]string{"sluice": targets})
	prometheus.Fires("SluiceNodeDown") // the stray one
	stray.begin()
	prometheus.Fires("SluiceNodeWithoutLeader")
	stray.kill9()
	prometheus.Quiet("SluiceNodeDown", slowFsync)

	conn := c.connect()
	forgetful.post("/webhooks", object{"name": "signed", "url": "https://example.com/hook", "paused": true})
	keys := read(t, itsKeys)
	writeKeys(t, itsKeys, newKey(2))
	forgotten := prometheus.Fires("SluiceSecretsKeyMissing")["SluiceSecretsKeyMissing"]
	if len(forgotten) != 1 || forgotten[0].Labels["instance"] != forgetful.address {
		t.Errorf("the alert says %+v", forgotten)
	}
	writeKeys(t, itsKeys, keys)
	prometheus.Quiet("SluiceNodeDown", slowFsync)
	queue(t, conn, "lonely", 0)
	checkMonitoringPage(t, c)
	checkDashboard(t, prometheus)
	deployment := deploy(t, conn, "steady", nil, "true").deployment
	past := api.ZonedTime{Time: time.Now().Add(-time.Hour)}
	if _, err := conn.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{State: &api.StateCreate{Type: api.Scheduled,
		StateDetails: &api.StateDetails{ScheduledTime: &past}}}); err != nil {
		t.Fatal(err)
	}
	alerts := prometheus.Fires("SluiceQueueWithoutAgent", "SluiceRunsOverdue")
	if a := alerts["SluiceQueueWithoutAgent"][0]; a.Labels["work_queue"] != "lonely" || !strings.Contains(a.Annotations["description"], "1 due runs wait in work queue 'lonely'") {
		t.Errorf("the alert says %+v", a)
	}
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	shell.startAgent("lonely")
	prometheus.Quiet("SluiceNodeDown", slowFsync)

	for range 7 {
		before := c.leader()
		eventually(t, "leadership goes elsewhere", func() error {
			if r := shell.run("cluster", "transfer-leadership"); r.code != 0 {
				return errors.New(r.String())
			}
			return nil
		})
		eventually(t, "another leads", func() error {
			if now := c.leader(); now == before {
				return errors.New("the same still leads")
			}
			return nil
		})
	}
	prometheus.Fires("SluiceLeadershipUnstable")

	c.followers()[0].kill9()
	prometheus.Fires("SluiceQuorumOneFailureFromLoss")
	c.followers()[0].kill9()
	alerts = prometheus.Fires("SluiceNoLeader")
	if a := alerts["SluiceNoLeader"][0]; a.Labels["severity"] != "critical" {
		t.Errorf("the alert says %+v", a)
	}
}

var (
	family = regexp.MustCompile(`(?m)^# TYPE (sluice_\w+) (\w+)$`)
	row    = regexp.MustCompile("(?m)^\\| `(sluice_\\w+)` \\| (\\w+) \\|")
)

// conditional are metrics that a cluster shows only in some circumstances, which the page names.
var conditional = []string{"sluice_retention_removed_", "sluice_snapshot_", "sluice_raft_snapshot_timestamp_seconds", "sluice_tls_", "sluice_http_streams_total", "sluice_http_refused_total"}

// checkMonitoringPage compares the table of metrics with what the nodes show.
func checkMonitoringPage(t *testing.T, c *nodes) {
	t.Helper()
	shown := map[string]string{}
	eventually(t, "the leader shows members and work queues", func() error {
		for _, s := range c.all {
			response, err := get(t.Context(), "http://"+s.address+"/metrics")
			if err != nil {
				return err
			}
			body := must[[]byte](t)(io.ReadAll(response.Body))
			_ = response.Body.Close()
			for _, m := range family.FindAllStringSubmatch(string(body), -1) {
				shown[m[1]] = m[2]
			}
		}
		for _, late := range []string{"sluice_raft_member_clock_offset_seconds", "sluice_work_queue_depth"} {
			if shown[late] == "" {
				return errors.New("no node shows " + late)
			}
		}
		return nil
	})
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(read(t, built.root, "docs", "operate", "monitoring.md"), -1) {
		documented[m[1]] = m[2]
	}
	for name, kind := range shown {
		if documented[name] != kind {
			t.Errorf("docs/operate/monitoring.md has %s as %q, it is a %s", name, documented[name], kind)
		}
	}
	for name := range documented {
		if shown[name] == "" && !slices.ContainsFunc(conditional, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("docs/operate/monitoring.md has %s, which no node shows", name)
		}
	}
}

// checkDashboard evaluates each expression of the Grafana dashboard.
func checkDashboard(t *testing.T, prometheus *promtest.Server) {
	t.Helper()
	type panel struct {
		Title   string
		Type    string
		Targets []struct{ Expr string }
	}
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
	}
	if err := json.Unmarshal([]byte(read(t, promtest.Folder(), "grafana", "sluice.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	documented := read(t, built.root, "docs", "operate", "monitoring.md")
	expressions := 0
	for _, p := range dashboard.Panels {
		if p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q (%s) shows nothing", p.Title, p.Type)
		}
		for _, target := range p.Targets {
			expressions++
			expression := strings.NewReplacer("$__rate_interval", "1m", "$job", "sluice", "$instance", ".*").Replace(target.Expr)
			if _, err := prometheus.Query(expression); err != nil {
				t.Errorf("panel %q: %v", p.Title, err)
			}
			for _, name := range regexp.MustCompile(`\bsluice_\w+`).FindAllString(expression, -1) {
				base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
				if !strings.Contains(documented, "`"+base+"`") && !strings.Contains(documented, "`"+name+"`") {
					t.Errorf("panel %q: there is no metric %s", p.Title, name)
				}
			}
		}
	}
	if expressions < 20 || dashboard.UID == "" || dashboard.SchemaVersion < 36 {
		t.Errorf("the dashboard has %d expressions, uid %q, schema %d", expressions, dashboard.UID, dashboard.SchemaVersion)
	}
}
