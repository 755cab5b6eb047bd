// Package dataset makes the commands that fill a state machine with months of an imagined team's work: flows, deployments, queues,
// and flow runs with their states, task runs and logs. The same seed makes the same commands.
package dataset

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Config says how much there is to be.
type Config struct {
	// Runs is how many flow runs are made. About one in 500 is still scheduled at the end; the others have ended, but for the few that
	// are under way.
	Runs int
	// Seed decides everything that is random.
	Seed uint64
	// Until is the end of the time that the runs are spread over, Span its length.
	Until time.Time
	Span  time.Duration
}

// Step is one command and when it was given.
type Step struct {
	At      time.Time
	Command *command.Envelope
}

// Each hands out the commands in the order of their time, until yield returns an error.
func (c Config) Each(yield func(Step) error) error {
	g := &generator{c: c, r: rand.New(rand.NewPCG(c.Seed, 0x51)), from: c.Until.Add(-c.Span), yield: yield}
	if err := g.team(); err != nil {
		return err
	}
	for i := range c.Runs {
		begin := g.arrival(i)
		if err := g.advance(begin); err != nil {
			return err
		}
		if err := g.begin(begin, i >= c.Runs-c.Runs/500); err != nil {
			return err
		}
	}
	return g.advance(c.Until)
}

// deployment is what runs are made of.
type deployment struct {
	id, flow []byte
	share    float64 // of all runs, summed up to this one
}

// generator holds what is under way.
type generator struct {
	c           Config
	r           *rand.Rand
	from        time.Time
	yield       func(Step) error
	flows       [][]byte
	deployments []deployment
	lives       lives
	parents     [64][]byte // task runs that ended lately, for which a subflow may stand
	begun       int
}

// The mixture, per thousand runs.
const (
	withoutDeployment = 80
	subflows          = 30
	late              = 20
	failing           = 60
	crashing          = 15
	timingOut         = 5
	cancelling        = 30
)

var (
	subjects = []string{"orders", "billing", "users", "events", "catalog", "ledger", "search", "fraud", "churn", "inventory", "shipping", "weather", "tickets", "clicks"}
	verbs    = []string{"import", "export", "train", "score", "clean", "report", "sync", "archive"}
	teams    = []string{"team-data", "team-finance", "team-growth", "team-platform", "team-science"}
	kinds    = []string{"etl", "ml", "report", "maintenance", "nightly", "hourly", "critical", "pii"}
	runners  = []string{"subprocess", "subprocess", "universal", "docker", "kubernetes"}
)

func (g *generator) chance(perThousand int) bool { return g.r.IntN(1000) < perThousand }

func (g *generator) id(at time.Time) []byte {
	id := api.NewIDAt(at, g.r.Uint64())
	return id[:]
}

func (g *generator) give(at time.Time, e *command.Envelope) error {
	e.Actor, e.Seed = "bench", g.id(at)
	return g.yield(Step{at, e})
}

func between(n, least, most int) int { return max(least, min(n, most)) }

// team makes what the runs are of. Few deployments make most of the runs.
func (g *generator) team() error {
	at := g.from
	for i := range between(g.c.Runs/25_000, 4, 60) {
		id := g.id(at)
		g.flows = append(g.flows, id)
		if err := g.give(at, &command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id,
			Name: fmt.Sprintf("%s-%s-%d", verbs[i%len(verbs)], subjects[i%len(subjects)], i), Tags: []string{teams[i%len(teams)]}}}}); err != nil {
			return err
		}
	}
	for i, team := range teams {
		if err := g.give(at, &command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{Id: g.id(at), Name: team,
			Filter: &row.QueueFilter{HasTags: true, Tags: []string{team}}, IsPaused: i == len(teams)-1}}}); err != nil {
			return err
		}
	}
	sum := 0.0
	for i := range between(g.c.Runs/5000, 6, 300) {
		environment := "prod"
		if i%10 >= 7 {
			environment = "staging"
		}
		tags := []string{environment, teams[i%len(teams)]}
		if kind := g.r.IntN(2 * len(kinds)); kind < len(kinds) {
			tags = append(tags, kinds[kind])
		}
		d := deployment{id: g.id(at), flow: g.flows[i%len(g.flows)]}
		runner := runners[g.r.IntN(len(runners))]
		schedule := ""
		if i%3 == 0 {
			schedule = `{"interval":86400.0,"anchor_date":"2020-01-01T00:00:00+00:00","timezone":"UTC"}`
		}
		if err := g.give(at, &command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: d.id, Name: fmt.Sprintf("%s-%d", environment, i),
			FlowId: d.flow, FlowData: &row.Data{Encoding: api.EncodingCommand, Blob: `["true"]`}, Tags: tags, ScheduleJson: []byte(schedule), IsScheduleActive: schedule != "",
			ParametersJson: []byte(`{"limit":100,"dry_run":false}`), HasFlowRunner: true, FlowRunner: &row.FlowRunner{Type: &runner}}}}); err != nil {
			return err
		}
		sum += 1 / math.Pow(float64(i+1), 0.8)
		d.share = sum
		g.deployments = append(g.deployments, d)
	}
	for i := range g.deployments {
		g.deployments[i].share /= sum
	}
	return nil
}

// arrival is when the run with that number is made: evenly over the days, more of them by day than by night.
func (g *generator) arrival(i int) time.Time {
	at := time.Duration(float64(g.c.Span) * float64(i) / float64(g.c.Runs))
	day := float64(at%(24*time.Hour)) / float64(24*time.Hour)
	return g.from.Add(time.Second + at + time.Duration(3*float64(time.Hour)*(1-math.Cos(2*math.Pi*day))/2))
}

func (g *generator) pick() *deployment {
	x := g.r.Float64()
	low, high := 0, len(g.deployments)-1
	for low < high {
		if mid := (low + high) / 2; g.deployments[mid].share < x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return &g.deployments[low]
}

// begin makes a flow run and plans its life. One that waits stays scheduled for some time after the end.
func (g *generator) begin(at time.Time, waits bool) error {
	g.begun++
	run := &command.CreateFlowRun{Id: g.id(at), Name: api.RunName(g.r.Uint64())}
	if g.chance(withoutDeployment) {
		run.FlowId = g.flows[g.r.IntN(len(g.flows))]
		run.Tags = []string{"script"}
	} else {
		d := g.pick()
		run.DeploymentId, run.FlowId, run.FromDeployment = d.id, d.flow, true
	}
	run.ParametersJson = []byte(`{"day":"` + at.UTC().Format(time.DateOnly) + `"}`)
	if parent := g.parents[g.r.IntN(len(g.parents))]; parent != nil && g.chance(subflows) {
		run.ParentTaskRunId = parent
	}
	start := at.Add(time.Duration(g.r.ExpFloat64() * float64(5*time.Minute)))
	if waits {
		start = g.c.Until.Add(time.Duration(g.r.Float64() * float64(7*24*time.Hour)))
	}
	run.State = &command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: start.UnixMicro()}}
	if err := g.give(at, &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: run}}); err != nil || waits {
		return err
	}
	heap.Push(&g.lives, g.plan(run.Id, start))
	return nil
}

// plan decides what becomes of a run that is due at start.
func (g *generator) plan(id []byte, start time.Time) *life {
	l := &life{run: id, order: g.begun, fate: completed}
	add := func(at time.Time, what act) { l.steps = append(l.steps, planned{at, what}) }
	switch n := g.r.IntN(1000); {
	case n < failing:
		l.fate = failed
	case n < failing+crashing:
		l.fate = crashed
	case n < failing+crashing+timingOut:
		l.fate = timedOut
	case n < failing+crashing+timingOut+cancelling:
		l.fate = cancelled
	}
	at := start.Add(time.Duration(g.r.ExpFloat64() * float64(50*time.Millisecond)))
	if g.chance(late) {
		at = start.Add(15 * time.Second)
		add(at, actLate)
		at = at.Add(time.Duration(g.r.ExpFloat64() * float64(3*time.Minute)))
	}
	add(at, actPending)
	at = at.Add(time.Duration((0.2 + g.r.ExpFloat64()*0.5) * float64(time.Second)))
	add(at, actRunning)
	// Half of the runs take less than 20 s, some take hours.
	spent := time.Duration(20 * math.Exp(1.5*g.r.NormFloat64()) * float64(time.Second))
	tasks := []int{0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3}[g.r.IntN(12)]
	each := spent / time.Duration(tasks+1)
	for range tasks {
		add(at.Add(each/10), actTask)
		add(at.Add(each/5), actTaskRunning)
		at = at.Add(each)
		add(at, actTaskDone)
	}
	at = at.Add(each)
	if !g.chance(100) {
		add(at, actLogs)
	}
	add(at.Add(time.Millisecond), actEnd)
	return l
}

// advance gives all commands that are planned before at.
func (g *generator) advance(at time.Time) error {
	for len(g.lives) > 0 && g.lives[0].next().Before(at) {
		l := g.lives[0]
		if err := g.act(l, l.steps[0]); err != nil {
			return err
		}
		if l.steps = l.steps[1:]; len(l.steps) == 0 {
			heap.Pop(&g.lives)
		} else {
			heap.Fix(&g.lives, 0)
		}
	}
	return nil
}
