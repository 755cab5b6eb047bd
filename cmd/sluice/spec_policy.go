package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-dev/sluice/api"
)

// stdinPath stands for the standard input where files are named.
const stdinPath = "-"

// specsFromStdin reads YAML or JSON; paths in it are relative to where the command runs.
func (a *app) specsFromStdin(ctx context.Context) ([]spec, error) {
	content, err := io.ReadAll(a.in)
	if err != nil {
		return nil, fmt.Errorf("read deployment specifications: %w", err)
	}
	specs, err := yamlSpecs(content, "stdin")
	if err != nil {
		return nil, err
	}
	base, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	return a.loadFlows(ctx, specs, "stdin", base)
}

// policy reads one key of a spec's policy. Times may be written as 90s or 2h, or as seconds.
func (r *specReader) policy(key string, node *yaml.Node) {
	if r.spec.Policy == nil {
		r.spec.Policy = &api.Policy{}
	}
	p := r.spec.Policy
	words := func(allowed ...string) string {
		word := r.text(key, node)
		if !slices.Contains(allowed, word) {
			r.fail(node, "%s is '%s'; it is one of %s", key, word, strings.Join(allowed, ", "))
		}
		return word
	}
	switch key {
	case "concurrency_limit":
		p.ConcurrencyLimit = r.wholeNumber(key, node, 0, 1<<31-1)
	case "on_conflict":
		p.OnConflict = api.Conflict(words("queue", "skip", "cancel-running"))
	case "overlap":
		p.Overlap = api.Overlap(words("allow", "queue", "skip", "cancel-running"))
	case "priority":
		p.Priority = r.wholeNumber(key, node, 1, api.LowestPriority)
	case "queue_timeout_seconds":
		p.QueueTimeout = r.span(key, node)
	case "run_timeout_seconds":
		p.RunTimeout = r.span(key, node)
	case "dst":
		p.DST = &api.DST{Skipped: "shift", Repeated: "last"}
		r.members(key, node, p.DST)
		if !slices.Contains([]string{"shift", "skip"}, p.DST.Skipped) {
			r.fail(node, "dst.skipped is '%s'; it is one of shift, skip", p.DST.Skipped)
		}
		if !slices.Contains([]string{"last", "first", "both"}, p.DST.Repeated) {
			r.fail(node, "dst.repeated is '%s'; it is one of last, first, both", p.DST.Repeated)
		}
	case "on_crash":
		p.OnCrash = &api.OnCrash{}
		r.members(key, node, p.OnCrash)
		if p.OnCrash.Retries < 0 || p.OnCrash.Retries > 100 || p.OnCrash.Delay < 0 {
			r.fail(node, "on_crash has retries from 0 to 100 and delay_seconds from 0 on")
		}
	}
}

func (r *specReader) wholeNumber(key string, node *yaml.Node, low, high int) *int {
	n := 0
	if err := node.Decode(&n); err != nil || n < low || n > high {
		r.fail(node, "%s is '%s'; it is a whole number from %d to %d", key, node.Value, low, high)
	}
	return &n
}

func (r *specReader) span(key string, node *yaml.Node) *api.Duration {
	d := api.Duration(0)
	if std, err := time.ParseDuration(node.Value); err == nil {
		d = api.Duration(std)
	} else if encoded, err := nodeJSON(node); err != nil || json.Unmarshal(encoded, &d) != nil {
		d = 0
	}
	if d <= 0 {
		r.fail(node, "%s is '%s'; it is a time like 90s, 2h or a number of seconds", key, node.Value)
	}
	return &d
}

func (r *specReader) members(key string, node *yaml.Node, into any) {
	encoded, err := nodeJSON(node)
	if err == nil {
		decoder := json.NewDecoder(strings.NewReader(string(encoded)))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
		r.fail(node, "%s: %s", key, strings.TrimPrefix(err.Error(), "json: "))
	}
}

// samePolicy compares policies with their defaults filled in.
func samePolicy(stored, wanted api.Policy) bool {
	return reflect.DeepEqual(wholePolicy(stored), wholePolicy(wanted))
}

func wholePolicy(p api.Policy) api.Policy {
	if p.OnConflict == "" {
		p.OnConflict = api.ConflictQueue
	}
	if p.Overlap == "" {
		p.Overlap = api.OverlapAllow
	}
	if p.DST == nil {
		p.DST = &api.DST{Skipped: "shift", Repeated: "last"}
	}
	if p.OnCrash == nil {
		p.OnCrash = &api.OnCrash{}
	}
	if p.Priority == nil {
		priority := api.DefaultPriority
		p.Priority = &priority
	}
	return p
}
