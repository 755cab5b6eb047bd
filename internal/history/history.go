// Package history records what concurrent clients were told and checks with porcupine that some order of their operations, each
// at one moment between its call and its answer, explains all answers. Tests of clusters use it.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Log collects operations. It is safe for concurrent use.
type Log struct {
	begin time.Time

	mu         sync.Mutex // guards what follows
	operations []porcupine.Operation
	clients    int
}

// NewLog returns an empty log whose clock starts now.
func NewLog() *Log { return &Log{begin: time.Now()} }

// Client is one sequence of operations, each begun after the one before was answered. It is for one goroutine.
type Client struct {
	log *Log
	id  int
}

// Client returns a new client.
func (l *Log) Client() *Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return &Client{log: l, id: l.clients - 1}
}

// Call is an operation that was begun. Exactly one of its methods is called, once.
type Call struct {
	client *Client
	input  Input
	at     int64
}

// Begin notes that the client does something now.
func (c *Client) Begin(input Input) *Call {
	return &Call{client: c, input: input, at: int64(time.Since(c.log.begin))}
}

// Answered notes the answer, which has come just now.
func (c *Call) Answered(o Output) { c.add(o, int64(time.Since(c.client.log.begin))) }

// NotDone notes that the operation surely had no effect: the history has no such operation. A value that was written so and is
// read later has then no writer, which no check accepts.
func (c *Call) NotDone() {}

// Unknown notes that the operation had its effect at any later time, or never has it. A read of unknown answer says nothing.
func (c *Call) Unknown() {
	if c.input.Kind == Read {
		return
	}
	c.add(Output{Unknown: true}, forever)
	// The client goes on while its operation is open: for the checker somebody else.
	l := c.client.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	c.client.id = l.clients - 1
}

const forever = int64(1) << 62

func (c *Call) add(o Output, returned int64) {
	l := c.client.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations = append(l.operations, porcupine.Operation{ClientId: c.client.id, Input: c.input, Call: c.at, Output: o, Return: returned})
}

// Kind is what an operation does.
type Kind int

// The kinds of operations: a register is read and written, a lock is taken, by at most one owner for ever.
const (
	Read Kind = iota
	Write
	Take
)

// Input is an operation on the object under Key: Write writes Value, Take takes for the owner Value.
type Input struct {
	Key   string
	Kind  Kind
	Value string
}

// Output is an operation's answer: what Read has read, whether Take has won.
type Output struct {
	Value   string `json:",omitempty"`
	Won     bool   `json:",omitempty"`
	Unknown bool   `json:",omitempty"` // there was no answer
}

// Len is the number of operations recorded.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.operations)
}

// checkTime bounds the search for an order. Histories whose search takes longer count as not checked, which is an error.
const checkTime = 2 * time.Minute

// Check fails unless every object's history is linearizable. Of a failure the whole history, and a picture of how far it could be
// explained, are left in dir; the error names the files.
func (l *Log) Check(dir string) error {
	l.mu.Lock()
	all := slices.Clone(l.operations)
	l.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(model, all, checkTime)
	if result == porcupine.Ok {
		return nil
	}
	what := "cannot be explained by any order of the operations"
	if result == porcupine.Unknown {
		what = fmt.Sprintf("could not be checked within %s", checkTime)
	}
	picture, text := filepath.Join(dir, "history.html"), filepath.Join(dir, "history.json")
	err := fmt.Errorf("a history of %d operations %s: see %s and %s; keys: %s", len(all), what, picture, text, strings.Join(faulty(all), ", "))
	content, werr := json.MarshalIndent(all, "", "\t")
	if werr == nil {
		werr = os.WriteFile(text, content, 0o644)
	}
	return errors.Join(err, werr, porcupine.VisualizePath(model, info, picture))
}

// faulty names the objects whose history is not accepted.
func faulty(all []porcupine.Operation) []string {
	var keys []string
	for _, part := range model.Partition(all) {
		if porcupine.CheckOperationsTimeout(model, part, checkTime) != porcupine.Ok {
			keys = append(keys, part[0].Input.(Input).Key)
		}
	}
	return keys
}

// model is a set of registers and locks, each "" at first. An object is used either as a register or as a lock.
var model = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		var keys []string
		for _, o := range all {
			key := o.Input.(Input).Key
			if parts[key] == nil {
				keys = append(keys, key)
			}
			parts[key] = append(parts[key], o)
		}
		slices.Sort(keys)
		var out [][]porcupine.Operation
		for _, key := range keys {
			out = append(out, parts[key])
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		value, in, out := state.(string), input.(Input), output.(Output)
		switch in.Kind {
		case Read:
			return out.Value == value, value
		case Write:
			return true, in.Value
		}
		free := value == "" || value == in.Value
		if free {
			value = in.Value
		}
		return out.Unknown || out.Won == free, value
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(Input), output.(Output)
		answer := ""
		if out.Unknown {
			answer = " → ?"
		}
		switch in.Kind {
		case Read:
			return fmt.Sprintf("read %s → %q", in.Key, out.Value)
		case Write:
			return fmt.Sprintf("write %s %q%s", in.Key, in.Value, answer)
		}
		if !out.Unknown {
			answer = fmt.Sprintf(" → %t", out.Won)
		}
		return fmt.Sprintf("take %s for %q%s", in.Key, in.Value, answer)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%q", state) },
}
