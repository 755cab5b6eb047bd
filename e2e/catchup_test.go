//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallLog is the shortest Raft log there is: a node that is away for a moment needs the whole state.
var smallLog = []string{"--insecure", "--raft-log-bytes", strconv.Itoa(1 << 20), "--log-level", "info"}

// metric reads one value of the server's metrics.
func (s *server) metric(name string) (float64, error) {
	response, err := get(s.t.Context(), "http://"+s.address+"/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	if match == nil {
		return 0, fmt.Errorf("%s has no metric %s", s.address, name)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}

// anonymous is the memory of the process that no file backs, in MiB: now, and the most it ever had resident.
func (p *process) anonymous() string {
	p.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return "gone"
	}
	value := func(name string) int {
		match := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(content)
		if match == nil {
			return 0
		}
		kib, _ := strconv.Atoi(string(match[1]))
		return kib >> 10
	}
	return fmt.Sprintf("RssAnon %d MiB, RSS at most %d MiB", value("RssAnon"), value("VmHWM"))
}

// storedRuns is how many flow runs this node's own state holds, whoever leads.
func (s *server) storedRuns() (int, error) {
	var count int
	_, err := s.request(s.t.Context(), "POST", "/flow_runs/count?consistency=stale", object{}, &count)
	return count, err
}

// sameRuns waits until all nodes hold the same runs and returns how many.
func (c *nodes) sameRuns() int {
	c.t.Helper()
	var count int
	eventually(c.t, "all nodes hold the same runs", func() error {
		var counts []int
		for _, s := range c.all {
			n, err := s.storedRuns()
			if err != nil {
				return err
			}
			counts = append(counts, n)
		}
		for _, n := range counts {
			if n != counts[0] {
				return fmt.Errorf("they hold %v", counts)
			}
		}
		count = counts[0]
		return nil
	})
	return count
}

// seed stores completed flow runs through a node.
func (s *server) seed(runs int) {
	s.t.Helper()
	began := time.Now()
	p := newClient(s.t, s).start("bench", "seed", "--runs", strconv.Itoa(runs))
	select {
	case <-p.ended:
	case <-time.After(patience + time.Duration(runs)*10*time.Millisecond):
		s.t.Fatalf("%d runs were not stored in %s\n%s", runs, time.Since(began), p.output())
	}
	if p.code != 0 {
		s.t.Fatalf("bench seed ended with exit code %d\n%s", p.code, p.output())
	}
	s.t.Logf("%d runs stored in %s", runs, time.Since(began).Round(time.Millisecond))
}

// outgrown waits until the leader's log begins after what the node has, which therefore needs a snapshot.
func (c *nodes) outgrown(last float64) {
	c.t.Helper()
	eventually(c.t, "the log begins after what the node has", func() error {
		first, err := c.leader().metric("sluice_raft_first_index")
		if err == nil && first <= last+1 {
			err = fmt.Errorf("it begins at %.0f, the node has %.0f", first, last)
		}
		return err
	})
}

// loadRate measures the lives per second that a load makes in the next while, by what it says every second.
func loadRate(t *testing.T, load *process, seconds int) float64 {
	t.Helper()
	mark := load.mark()
	var counts []int
	for range seconds + 1 {
		counts = append(counts, must[int](t)(strconv.Atoi(load.waitAfter(mark, `(\d+) lives\n`)[1])))
		text, _ := load.both.after(mark)
		mark += regexp.MustCompile(`\d+ lives\n`).FindStringIndex(text)[1]
	}
	return float64(counts[len(counts)-1]-counts[0]) / float64(seconds)
}

// A node that was away comes back while the others are under load, and needs more than their log holds. It must not chase a log that is
// compacted faster than it reads.
func TestAFollowerThatFellBehindCatchesUpUnderLoad(t *testing.T) {
	t.Parallel()
	ways := []string{"stopped"}
	if long() {
		ways = append(ways, "killed")
	}
	for _, away := range ways {
		t.Run(away, func(t *testing.T) {
			if !long() {
				t.Parallel()
			}
			flags, callers, absence, seconds := smallLog, "8", time.Duration(0), 2
			if long() {
				flags, callers, absence, seconds = []string{"--insecure", "--log-level", "info"}, "64", 3*time.Minute, 10
			}
			c := startNodes(t, 3, flags...)
			victim := c.followers()[0]
			shell := newShell(t)
			var loaded []string
			for _, s := range c.all {
				if s != victim {
					loaded = append(loaded, s.apiURL())
				}
			}
			shell.env["SLUICE_API_URL"] = strings.Join(loaded, ",")
			load := shell.start("bench", "lives", "--callers", callers, "--duration", "1h")
			load.waitFor(`\d+ lives\n`)
			all := loadRate(t, load, seconds)
			last := must[float64](t)(victim.metric("sluice_raft_last_index"))
			if away == "killed" {
				victim.kill9()
			} else {
				victim.signal(syscall.SIGSTOP)
				t.Cleanup(func() { victim.signal(syscall.SIGCONT) })
			}
			left := time.Now()
			time.Sleep(absence) // the long form is about three minutes
			c.outgrown(last)
			alone := loadRate(t, load, seconds)
			behind := must[float64](t)(c.leader().metric("sluice_raft_last_index")) - last
			back := time.Now()
			if away == "killed" {
				victim.begin()
			} else {
				victim.signal(syscall.SIGCONT)
			}
			before := load.mark()
			eventually(t, "the node is near the leader's last entry", func() error {
				leader, err := c.leader().metric("sluice_raft_last_index")
				if err != nil {
					return err
				}
				applied, err := victim.metric("sluice_raft_applied_index")
				if err == nil && applied+1000 < leader {
					err = fmt.Errorf("it has applied %.0f of %.0f", applied, leader)
				}
				return err
			})
			took := time.Since(back)
			text, _ := load.both.after(before)
			during := "less than a second's worth of"
			if counts := regexp.MustCompile(`(\d+) lives\n`).FindAllStringSubmatch(text, -1); len(counts) > 1 {
				first, last := must[int](t)(strconv.Atoi(counts[0][1])), must[int](t)(strconv.Atoi(counts[len(counts)-1][1]))
				during = fmt.Sprintf("%.0f/s during the catching up,", float64(last-first)/float64(len(counts)-1))
			}
			after := loadRate(t, load, seconds)
			if load.exited() {
				t.Fatalf("the load ended\n%s", load.output())
			}
			installs := strings.Count(victim.output(), "snapshot installed")
			t.Logf("away for %s and %.0f entries behind, caught up in %s with %d snapshots; lives: %.0f/s on three nodes, %.0f/s on two, %s %.0f/s after",
				back.Sub(left).Round(time.Second), behind, took.Round(time.Millisecond), installs, all, alone, during, after)
			if installs == 0 {
				t.Error("the node installed no snapshot")
			}
			if installs > 3 {
				t.Errorf("the node fetched %d snapshots, because the log was compacted while it fetched them", installs)
			}
			for _, s := range c.all {
				t.Logf("%s: %s", s.address, s.anonymous())
			}
			load.interrupt()
			load.wait()
			t.Logf("all nodes hold the same %d runs", c.sameRuns())
		})
	}
}

func TestANodeWithAReplacedDiskRejoins(t *testing.T) {
	t.Parallel()
	flags, runs := smallLog, 8_000
	if long() {
		flags, runs = []string{"--insecure", "--log-level", "info"}, 1_000_000
	}
	c := startNodes(t, 3, flags...)
	c.leader().seed(runs)
	c.sameRuns()
	for _, s := range c.all {
		t.Logf("%s with %d runs: %s", s.address, runs, s.anonymous())
	}
	c.outgrown(0)
	victim := c.followers()[0]
	victim.kill9()
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = c.followers()[0].apiURL() + "," + c.leader().apiURL()
	if err := os.RemoveAll(victim.dataDir); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	victim.begin()
	// It is another node at the lost one's address. Whether that one is lost is for people to say, and the node says how.
	command := victim.waitFor(`if that node is lost: sluice (cluster remove \S+)"`)[1]
	if r := newClient(t, victim).run("cluster", "members"); r.code == 0 || !strings.Contains(r.stderr, "belongs to no cluster") {
		t.Errorf("the members, asked of a node that is in no cluster\n%s", r)
	}
	eventually(t, "the leader knows that the node is lost", func() error {
		if r := shell.run("cluster", "members", "--no-headers"); !strings.Contains(r.stdout, "\tfalse\t") {
			return errors.New(r.String())
		}
		return nil
	})
	removed := time.Now()
	shell.ok(strings.Fields(command)...)
	victim.waitReady()
	t.Logf("ready %s after its start, %s after the lost node's removal", time.Since(began).Round(time.Millisecond), time.Since(removed).Round(time.Millisecond))
	for _, s := range c.all {
		t.Logf("%s: %s", s.address, s.anonymous())
	}
	if !strings.Contains(victim.output(), "snapshot installed") {
		t.Error("it did not get the state as a snapshot")
	}
	if n := c.sameRuns(); n != runs {
		t.Errorf("the nodes hold %d runs, %d were stored", n, runs)
	}
	eventually(t, "it votes", func() error {
		if r := shell.run("cluster", "members", "--no-headers"); strings.Count(r.stdout, "\tvoter\t") != 2 {
			return errors.New(r.String())
		}
		return nil
	})
	victim.signal(syscall.SIGTERM)
	victim.wait()
	began = time.Now()
	victim.restart()
	t.Logf("a restart with %d runs takes %s until it is ready; %s", runs, time.Since(began).Round(time.Millisecond), victim.anonymous())
}

// receiving says how far a node is with a snapshot, by what lies in its directory: "" when it does not receive any.
func (s *server) receiving() string {
	state := filepath.Join(s.dataDir, "state")
	entries, _ := os.ReadDir(filepath.Join(state, "incoming"))
	if len(entries) > 0 && strings.HasSuffix(entries[0].Name(), ".tmp") {
		return "transfer"
	}
	if len(entries) > 0 {
		return "received"
	}
	current, _ := os.ReadFile(filepath.Join(state, "CURRENT"))
	databases, _ := filepath.Glob(filepath.Join(state, "db-*"))
	for _, d := range databases {
		if filepath.Base(d) != strings.TrimSpace(string(current)) {
			return "install"
		}
	}
	return ""
}

// killWhile kills a process when the node is at one of the stages of receiving a snapshot, a random moment later. It polls, and
// often: the stages take milliseconds. "" means that the node had caught up before.
func (c *nodes) killWhile(receiver *server, kill *server, within time.Duration, rng *rand.Rand) string {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if stage := receiver.receiving(); stage != "" {
			time.Sleep(time.Duration(rng.Int64N(int64(within)))) // the point of the kill is random
			stage = receiver.receiving()
			kill.kill9()
			if stage == "" {
				stage = "just after"
			}
			return stage
		}
		if strings.Contains(receiver.output(), "snapshot installed") {
			return ""
		}
		time.Sleep(200 * time.Microsecond) // a poll interval: nothing tells when files appear
	}
	c.t.Fatalf("the node received nothing\n%s", receiver.output())
	return ""
}

func TestKillsWhileASnapshotIsSent(t *testing.T) {
	t.Parallel()
	rounds, runs := 6, 12_000
	if long() {
		rounds, runs = 40, 60_000
	}
	// fallBehind takes a follower down until it needs a snapshot.
	fallBehind := func(c *nodes) *server {
		victim := c.followers()[0]
		last := must[float64](t)(victim.metric("sluice_raft_last_index"))
		victim.kill9()
		c.leader().seed(runs)
		c.outgrown(last)
		return victim
	}
	t.Run("the receiver is killed again and again, and converges", func(t *testing.T) {
		t.Parallel()
		rng := seeded(t)
		c := startNodes(t, 3, smallLog...)
		victim := fallBehind(c)
		stages := map[string]int{}
		for i := range rounds {
			victim.begin()
			stage := c.killWhile(victim, victim, time.Duration(10<<(2*(i%3)))*time.Millisecond, rng)
			stages[stage]++
			if stage == "" {
				victim.kill9()
				last := must[float64](t)(c.leader().metric("sluice_raft_last_index"))
				c.leader().seed(runs)
				c.outgrown(last)
			}
		}
		t.Logf("killed at %v", stages)
		if stages["transfer"]+stages["received"]+stages["install"] == 0 {
			t.Errorf("no kill met a transfer or an install: %v", stages)
		}
		victim.restart()
		t.Logf("all nodes hold the same %d runs", c.sameRuns())
		eventually(t, "nothing is left of what was interrupted", func() error {
			if stage := victim.receiving(); stage != "" {
				return fmt.Errorf("something of the stage %q is left", stage)
			}
			return nil
		})
	})
	t.Run("the sending leader is killed, and the next one sends", func(t *testing.T) {
		t.Parallel()
		rng := seeded(t)
		c := startNodes(t, 3, smallLog...)
		victim := fallBehind(c)
		sender := c.leader()
		victim.begin()
		t.Logf("the leader was killed at %q of its follower", c.killWhile(victim, sender, 5*time.Millisecond, rng))
		if !sender.exited() {
			sender.kill9()
		}
		victim.waitReady()
		sender.restart()
		n := c.sameRuns()
		if n < runs {
			t.Errorf("%d runs are left of %d", n, runs)
		}
	})
}
