//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// verification compares what the healed system has with what its users were told.
type verification struct {
	*load
	api   *client.Client
	runs  map[string][]api.FlowRun // of all flows, by name
	fires int
	ended map[api.StateType]int
}

func (l *load) verification() *verification {
	return &verification{load: l, api: l.patient, runs: map[string][]api.FlowRun{}, ended: map[api.StateType]int{}}
}

// allRuns lists the runs of a filter.
func (v *verification) allRuns(ctx context.Context, f api.Filters) ([]api.FlowRun, error) {
	return client.Each(func(page api.Page) ([]api.FlowRun, error) {
		return v.api.FilterFlowRuns(ctx, api.FilterRequest{Page: page, Sort: api.SortExpectedStartTimeAsc, Filters: f})
	})
}

// schedules checks that each fire time up to the moment has exactly one run, and waits until those have ended.
func (v *verification) schedules(ctx context.Context, from, until time.Time) error {
	for _, d := range v.scheduled {
		runs, err := v.allRuns(ctx, api.Filters{FlowRuns: &api.FlowRunFilter{DeploymentID: &api.IDAnyNull{Any: []api.ID{d.id}}}})
		if err != nil {
			return err
		}
		var fires []time.Time
		for _, r := range runs {
			if r.ExpectedStartTime == nil {
				v.system.problem("run %s of %s has no expected start time", r.ID, d.name)
				continue
			}
			if fire := r.ExpectedStartTime.Time; !fire.After(until) {
				fires = append(fires, fire)
				if err := v.life(ctx, r.ID, r.Name); err != nil {
					return err
				}
			}
		}
		for _, problem := range checkFires(fires, d.interval, from, until) {
			v.system.problem("schedule %s: %s", d.name, problem)
		}
		v.fires += len(fires)
	}
	return nil
}

// checkFires compares the fire times of runs, in order, with those of the schedule between two moments.
func checkFires(fires []time.Time, interval time.Duration, from, until time.Time) (problems []string) {
	at := api.DefaultAnchor(time.UTC)
	at = at.Add((from.Sub(at)/interval + 1) * interval)
	count := map[time.Time]int{}
	for _, fire := range fires {
		count[fire.UTC()]++
		if (fire.Sub(at))%interval != 0 {
			problems = append(problems, fmt.Sprintf("a run at %s, when it does not fire", fire.UTC()))
		}
	}
	for ; !at.After(until); at = at.Add(interval) {
		if n := count[at.UTC()]; n != 1 {
			problems = append(problems, fmt.Sprintf("%d runs for the fire at %s", n, at.UTC()))
		}
	}
	return problems
}

// life waits until a run that agents execute has ended and checks its states.
func (v *verification) life(ctx context.Context, id api.ID, name string) error {
	wait, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	var last api.State
	err := v.api.StreamFlowRun(wait, id, false, "", func(event client.Event) error {
		if event.Kind != api.EventState && event.Kind != api.EventEnd {
			return nil
		}
		if err := json.Unmarshal(event.Data, &last); err != nil {
			return err
		}
		if last.Type.Terminal() {
			return client.ErrStop
		}
		return nil
	})
	if !last.Type.Terminal() {
		reason := ""
		if e, err := v.api.ExplainFlowRun(ctx, id); err == nil {
			reason = e.Summary
		}
		v.system.problem("run %s (%s) has not ended %s after all faults: it is %s (%s): %v", id, name, 3*patience, last.Name, reason, err)
		return nil
	}
	v.ended[last.Type]++
	states, err := v.api.FlowRunStates(ctx, id)
	if err != nil {
		return err
	}
	if problem := checkStates(states); problem != "" {
		v.system.problem("run %s (%s): %s", id, name, problem)
	}
	return nil
}

// checkStates says what is wrong with the states of a run of a plain command, "" if nothing is. It is taken, begun once, and ends
// once; only before it began may its owner have lost it, and then another takes it.
func checkStates(states []api.State) string {
	var path []string
	for _, s := range states {
		path = append(path, s.Name)
	}
	told := strings.Join(path, " → ")
	begun := false
	for i, s := range states {
		before := api.StateType("")
		if i > 0 {
			before = states[i-1].Type
			if !s.Timestamp.After(states[i-1].Timestamp.Time) {
				return told + ": the time of a state is not after that of the one before"
			}
		}
		allowed := false
		switch s.Type {
		case api.Scheduled:
			allowed = before == "" || before == api.Scheduled && s.Name == api.NameLate || before == api.Pending
		case api.Pending:
			allowed = before == api.Scheduled
		case api.Running:
			allowed = before == api.Pending && !begun
			begun = true
		case api.Completed:
			allowed = before == api.Running
		case api.Failed:
			allowed = (before == api.Running || before == api.Pending) && s.Name == api.NameCrashed
		}
		if !allowed {
			return told + ": " + s.Name + " may not come there"
		}
	}
	if len(states) == 0 || !states[len(states)-1].Type.Terminal() {
		return told + ": it has not ended"
	}
	return ""
}

// created checks that what was acknowledged is there once, what was not done is not, and what is unknown at most once.
func (v *verification) created(ctx context.Context) error {
	none := true
	runs, err := v.allRuns(ctx, api.Filters{FlowRuns: &api.FlowRunFilter{DeploymentID: &api.IDAnyNull{IsNull: &none}}})
	if err != nil {
		return err
	}
	quick, err := v.allRuns(ctx, api.Filters{FlowRuns: &api.FlowRunFilter{DeploymentID: &api.IDAnyNull{Any: []api.ID{v.quick}}}})
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, r := range append(runs, quick...) {
		count[r.Name]++
	}
	v.system.problemsOf("run", checkCounts(v.claims, count))
	for _, r := range quick {
		if err := v.life(ctx, r.ID, r.Name); err != nil {
			return err
		}
	}
	lines, err := client.Each(func(page api.Page) ([]api.Log, error) {
		return v.api.FilterLogs(ctx, api.LogFilterRequest{Page: page, Sort: api.SortTimestampAsc, Logs: &api.LogFilter{FlowRunID: &api.IDAny{Any: []api.ID{v.logged}}}})
	})
	if err != nil {
		return err
	}
	count = map[string]int{}
	for _, l := range lines {
		count[l.Message]++
	}
	v.system.problemsOf("log", checkCounts(v.lines, count))
	return nil
}

func (s *system) problemsOf(what string, problems []string) {
	for _, p := range problems {
		s.problem("%s %s", what, p)
	}
}

// checkCounts compares how often things are there with what is believed of them.
func checkCounts(believed map[string]verdict, count map[string]int) (problems []string) {
	for _, name := range beliefs(believed) {
		n := count[name]
		switch v := believed[name]; {
		case v == done && n != 1:
			problems = append(problems, fmt.Sprintf("%s was acknowledged and is there %d times", name, n))
		case (v == notDone || v == refused) && n != 0:
			problems = append(problems, fmt.Sprintf("%s was surely not done and is there %d times", name, n))
		case n > 1:
			problems = append(problems, fmt.Sprintf("%s, of unknown outcome, is there %d times", name, n))
		}
	}
	return problems
}

// executions checks what the executed commands have noted themselves.
func (v *verification) executions() error {
	content, err := os.ReadFile(v.begins)
	if err != nil {
		return err
	}
	for _, p := range checkBegins(strings.Split(strings.TrimSpace(string(content)), "\n")) {
		v.system.problem("%s", p)
	}
	return nil
}

// checkBegins reads the notes of commands, "begin|end RUN TOKEN AGENT" in the order of time: each run begins at most once, and so
// at most once under a lease, by one agent.
func checkBegins(notes []string) (problems []string) {
	begun := map[string]string{}
	for _, note := range notes {
		words := strings.Fields(note)
		if len(words) != 4 {
			problems = append(problems, fmt.Sprintf("a command noted %q", note))
			continue
		}
		run, who := words[1], strings.Join(words[2:], " ")
		before, known := begun[run]
		switch {
		case words[0] == "begin" && known:
			problems = append(problems, fmt.Sprintf("run %s was begun under %s and again under %s", run, before, who))
		case words[0] == "begin":
			begun[run] = who
		case before != who:
			problems = append(problems, fmt.Sprintf("run %s was begun under %q and ended under %q", run, before, who))
		}
	}
	return problems
}

// settled waits until all nodes have applied the same entries. Nothing changes any more when it is called, so nobody would
// announce it.
func (s *system) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for same := 0; same < 3; {
		var at []string
		for _, n := range s.nodes {
			c, err := s.ask(ctx, n)
			if err != nil {
				at = append(at, err.Error())
				continue
			}
			for _, m := range c.Members {
				if m.Name == n.name {
					at = append(at, strconv.FormatUint(m.AppliedIndex, 10))
				}
			}
		}
		if same++; len(slices.Compact(slices.Clone(at))) != 1 || len(at) != len(s.nodes) {
			same = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes do not come to rest at one index: %v", at)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// hashes compares the states that the nodes have stored. Cut off from each other first, none can order anything while the others
// stop.
func (s *system) hashes(ctx context.Context) (string, error) {
	if err := s.settled(ctx); err != nil {
		return "", err
	}
	for i, a := range s.nodes {
		for _, b := range s.nodes[:i] {
			s.net.change(a.host, b.host, func(f *fault) { f.cut = true })
		}
	}
	var stopping sync.WaitGroup
	for _, n := range s.nodes {
		stopping.Go(n.stop)
	}
	stopping.Wait()
	var all []stored
	for _, n := range s.nodes {
		found, err := read(filepath.Join(s.dir, n.name))
		if err != nil {
			s.problem("the state of %s: %v", n.name, err)
			continue
		}
		found.node = n.name
		all = append(all, found)
	}
	for _, p := range checkStored(all) {
		s.problem("%s", p)
	}
	return fmt.Sprint(all), nil
}

// stored is what a node has on its disk.
type stored struct {
	node  string
	index uint64
	hash  state.Hash
}

func (s stored) String() string { return fmt.Sprintf("%s: %s at %d", s.node, s.hash, s.index) }

// checkStored compares states of equal index; there must be some, or nothing was compared.
func checkStored(all []stored) (problems []string) {
	first := map[uint64]stored{}
	for _, s := range all {
		f, known := first[s.index]
		if !known {
			first[s.index] = s
		} else if f.hash != s.hash {
			problems = append(problems, fmt.Sprintf("states differ at one index: %s, %s", f, s))
		}
	}
	if len(first) != 1 {
		problems = append(problems, fmt.Sprintf("the nodes stopped at different indexes: %v", all))
	}
	return problems
}

// read opens the state of a node that has stopped, and checks it against itself.
func read(dir string) (_ stored, err error) {
	lock := new(sync.Mutex)
	quiet := slog.New(slog.DiscardHandler)
	holder, err := snapshot.Open(snapshot.Config{DataDir: dir, KV: pebblekv.Options{Logger: quiet}, ApplyLock: lock})
	if err != nil {
		return stored{}, err
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	machine, err := fsm.New(storage{holder}, lock, quiet)
	if err != nil {
		return stored{}, err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	view, err := machine.View()
	if err != nil {
		return stored{}, err
	}
	defer view.Close()
	hash, err := view.Hash()
	if err != nil {
		return stored{}, err
	}
	return stored{index: view.Index(), hash: hash}, view.Verify()
}

type storage struct{ *snapshot.Holder }

// Acquire implements fsm.Storage.
func (s storage) Acquire() (kv.Store, func()) {
	h := s.Holder.Acquire()
	return h.Store, h.Release
}
