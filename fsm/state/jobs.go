package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

func jobKey(id []byte) []byte { return appendID(prefix(kindRow, jobs.number), id) }

// Job returns a job by id.
func (v *View) Job(id api.ID) (*row.Job, error) { return jobs.get(v.r, jobKey(id[:])) }

// EachJob walks all jobs by id, that is by when they were made, the newest first when reverse is set.
func (v *View) EachJob(reverse bool, fn func(*row.Job) (bool, error)) error {
	return jobs.each(v.r, prefix(kindRow, jobs.number), reverse, fn)
}

// EachActiveJob walks the jobs that are not finished, by id.
func (v *View) EachActiveJob(fn func(*row.Job) (bool, error)) error {
	under := indexKey(idxJobActive)
	return jobs.eachByIndex(v.r, under, after(under), false, fn)
}

// NewJob makes a job, to be saved.
func (tx *Tx) NewJob(r *row.Job) *JobEdit { return insert(tx, jobs, r) }

// EditJob loads a job for change; nil when there is none.
func (tx *Tx) EditJob(id []byte) (*JobEdit, error) { return edit(tx, jobs, jobKey(id)) }

// CountJobs returns how many jobs are kept, with this transaction's own changes.
func (tx *Tx) CountJobs() (int64, error) { return tx.counted(counterKey(countJobs)) }

// counted is a counter with this transaction's own changes.
func (tx *Tx) counted(key []byte) (int64, error) {
	n, err := tx.View.count(key)
	return n + tx.deltas[string(key)], err
}

// CountFlowRunsOfDeployment is View.CountFlowRunsOfDeployment with this transaction's own changes.
func (tx *Tx) CountFlowRunsOfDeployment(id api.ID, t row.StateType) (int64, error) {
	return tx.counted(append(appendID(counterKey(countRunsByDeployment), id[:]), byte(t)))
}

// CountFlowRunsOfFlow is View.CountFlowRunsOfFlow with this transaction's own changes.
func (tx *Tx) CountFlowRunsOfFlow(id api.ID, t row.StateType) (int64, error) {
	return tx.counted(append(appendID(counterKey(countRunsByFlow), id[:]), byte(t)))
}
