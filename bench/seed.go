package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Seed stores n flow runs that have completed, from many callers at once, with one request each.
func Seed(ctx context.Context, host string, callers int, n int64, progress func(stored int64)) error {
	first, err := dial(host)
	if err != nil {
		return err
	}
	_, answer, err := first.post("/api/flows/", []byte(`{"name":"bench-seed"}`))
	first.close()
	if err != nil {
		return err
	}
	flow := field(answer, "id")
	body := []byte(`{"flow_id":"` + flow + `","name":"lively-bench","parameters":{"name":"Leo"},"tags":["bench","seed"],` +
		`"state":{"type":"COMPLETED","message":"All states completed.","data":{"encoding":"json","blob":"null"}}}`)
	var begun, stored atomic.Int64
	failures := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			failures[i] = func() error {
				c, err := dial(host)
				if err != nil {
					return err
				}
				defer c.close()
				for ctx.Err() == nil && begun.Add(1) <= n {
					status, answer, err := c.post("/api/flow_runs/", body)
					if err != nil {
						return err
					}
					if status != 201 {
						return fmt.Errorf("create a flow run: %d %s", status, answer)
					}
					if s := stored.Add(1); progress != nil && s%50_000 == 0 {
						progress(s)
					}
				}
				return ctx.Err()
			}()
		})
	}
	all.Wait()
	return errors.Join(failures...)
}
