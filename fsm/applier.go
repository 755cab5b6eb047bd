package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// applier applies the commands of one entry. It is a pure function of the transaction's state and the entry: no clock, no
// randomness. A business failure is a Result; an error means the state cannot be trusted or stored, and halts the node.
type applier struct {
	tx    *state.Tx
	cache *cache
	// supported are the cluster versions that this binary knows.
	supported command.Versions
	index     uint64
	now       int64  // the entry's time: never before an earlier entry's
	place     uint32 // next ordinal within the entry, for tokens, events and segments
	env       *command.Envelope
	ids       uint32 // next ordinal of a derived id within the entry
	events    []watch.Event
	// system says that the cluster version or the checkpoint changed, access that tokens did.
	system, access bool
}

// apply applies one encoded command and returns its encoded result.
func (a *applier) apply(data []byte) ([]byte, error) {
	env, err := command.Decode(data, a.supported)
	if err != nil {
		return nil, err
	}
	a.env = env
	result, err := a.dispatch()
	if err != nil {
		return nil, fmt.Errorf("apply %T: %w", env.Command, err)
	}
	if err := a.audit(result); err != nil {
		return nil, fmt.Errorf("record %T: %w", env.Command, err)
	}
	encoded, err := proto.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("encode result of %T: %w", env.Command, err)
	}
	return encoded, nil
}

func (a *applier) dispatch() (*command.Result, error) {
	if a.env.Epoch != 0 {
		epoch, err := a.tx.Epoch()
		if err != nil {
			return nil, err
		}
		if a.env.Epoch != epoch {
			return failed(command.Result_STALE_EPOCH, fmt.Sprintf("epoch %d is over, the current one is %d", a.env.Epoch, epoch)), nil
		}
	}
	if refused, err := a.refuseRevoked(); refused != nil || err != nil {
		return refused, err
	}
	version, err := a.tx.ClusterVersion()
	if err != nil {
		return nil, err
	}
	if needed := uint64(a.env.Version); needed > version {
		return failed(command.Result_UNSUPPORTED, fmt.Sprintf("this needs cluster version %d, the cluster is at version %d", needed, version)), nil
	}
	if a.env.Idempotency != nil {
		return a.once(a.env.Idempotency)
	}
	return a.perform()
}

// perform applies the command, whatever it says about itself.
func (a *applier) perform() (*command.Result, error) {
	switch c := a.env.Command.(type) {
	case *command.Envelope_RaiseVersion:
		return a.raiseVersion(uint64(c.RaiseVersion.Version))
	case *command.Envelope_Checkpoint:
		return a.checkpoint()
	case *command.Envelope_LeaderEpoch:
		return a.leaderEpoch(c.LeaderEpoch)
	case *command.Envelope_BuildIndex:
		return a.buildIndex(c.BuildIndex)
	case *command.Envelope_CreateFlow:
		return a.createFlow(c.CreateFlow)
	case *command.Envelope_UpdateFlow:
		return a.updateFlow(c.UpdateFlow)
	case *command.Envelope_DeleteFlow:
		return a.deleteFlow(c.DeleteFlow.Id)
	case *command.Envelope_CreateFlowRun:
		return a.createFlowRun(c.CreateFlowRun)
	case *command.Envelope_UpdateFlowRun:
		return a.updateFlowRun(c.UpdateFlowRun)
	case *command.Envelope_DeleteFlowRun:
		return a.deleteFlowRun(c.DeleteFlowRun.Id)
	case *command.Envelope_SetFlowRunState:
		return a.setFlowRunState(c.SetFlowRunState)
	case *command.Envelope_CancelFlowRun:
		return a.cancelFlowRun(c.CancelFlowRun)
	case *command.Envelope_StartLease:
		return a.startLease(c.StartLease)
	case *command.Envelope_CreateTaskRun:
		return a.createTaskRun(c.CreateTaskRun)
	case *command.Envelope_SetTaskRunState:
		return a.setTaskRunState(c.SetTaskRunState)
	case *command.Envelope_DeleteTaskRun:
		return a.deleteTaskRun(c.DeleteTaskRun.Id)
	case *command.Envelope_PutDeployment:
		return a.putDeployment(c.PutDeployment)
	case *command.Envelope_DeleteDeployment:
		return a.deleteDeployment(c.DeleteDeployment.Id)
	case *command.Envelope_SetScheduleActive:
		return a.setScheduleActive(c.SetScheduleActive)
	case *command.Envelope_ScheduleRuns:
		return a.scheduleRuns(c.ScheduleRuns)
	case *command.Envelope_CreateWorkQueue:
		return a.createWorkQueue(c.CreateWorkQueue)
	case *command.Envelope_UpdateWorkQueue:
		return a.updateWorkQueue(c.UpdateWorkQueue)
	case *command.Envelope_DeleteWorkQueue:
		return a.deleteWorkQueue(c.DeleteWorkQueue.Id)
	case *command.Envelope_RegisterAgent:
		return a.registerAgent(c.RegisterAgent)
	case *command.Envelope_DrainAgent:
		return a.drainAgent(c.DrainAgent)
	case *command.Envelope_DeleteAgent:
		return a.deleteAgent(c.DeleteAgent.Id)
	case *command.Envelope_ClaimRuns:
		return a.claimRuns(c.ClaimRuns)
	case *command.Envelope_ExpireLeases:
		return a.expireLeases(c.ExpireLeases)
	case *command.Envelope_MarkLate:
		return a.markLate(c.MarkLate)
	case *command.Envelope_PurgeClaims:
		return a.purgeClaims(c.PurgeClaims)
	case *command.Envelope_CreateBlockSpec:
		return a.createBlockSpec(c.CreateBlockSpec)
	case *command.Envelope_DeleteBlockSpec:
		return a.deleteBlockSpec(c.DeleteBlockSpec.Id)
	case *command.Envelope_CreateBlock:
		return a.createBlock(c.CreateBlock)
	case *command.Envelope_UpdateBlock:
		return a.updateBlock(c.UpdateBlock)
	case *command.Envelope_DeleteBlock:
		return a.deleteBlock(c.DeleteBlock.Id)
	case *command.Envelope_SetDefaultStorage:
		return a.setDefaultStorage(c.SetDefaultStorage)
	case *command.Envelope_PutConcurrencyLimit:
		return a.putConcurrencyLimit(c.PutConcurrencyLimit)
	case *command.Envelope_DeleteConcurrencyLimit:
		return a.deleteConcurrencyLimit(c.DeleteConcurrencyLimit.Id)
	case *command.Envelope_WriteLogs:
		return a.writeLogs(c.WriteLogs)
	case *command.Envelope_PutBlobChunk:
		return a.putBlobChunk(c.PutBlobChunk)
	case *command.Envelope_DeleteBlob:
		return a.deleteBlob(c.DeleteBlob.Key)
	case *command.Envelope_RetryFlowRun:
		return a.retryFlowRun(c.RetryFlowRun)
	case *command.Envelope_RerunFlowRun:
		return a.rerunFlowRun(c.RerunFlowRun)
	case *command.Envelope_CreateJob:
		return a.createJob(c.CreateJob)
	case *command.Envelope_AdvanceJob:
		return a.advanceJob(c.AdvanceJob)
	case *command.Envelope_CancelJob:
		return a.cancelJob(c.CancelJob.Id)
	case *command.Envelope_PatchDeployment:
		return a.patchDeployment(c.PatchDeployment)
	case *command.Envelope_ResolveConflicts:
		return a.resolveConflicts(c.ResolveConflicts)
	case *command.Envelope_EnforceDeadlines:
		return a.enforceDeadlines(c.EnforceDeadlines)
	case *command.Envelope_PutSchedule:
		return a.putSchedule(c.PutSchedule)
	case *command.Envelope_DeleteSchedule:
		return a.deleteSchedule(c.DeleteSchedule)
	case *command.Envelope_BackfillRuns:
		return a.backfillRuns(c.BackfillRuns)
	case *command.Envelope_CreateToken:
		return a.createToken(c.CreateToken)
	case *command.Envelope_RevokeToken:
		return a.revokeToken(c.RevokeToken)
	case *command.Envelope_RecordAudit:
		return &command.Result{}, nil
	case *command.Envelope_TidyAccess:
		return a.tidyAccess(c.TidyAccess)
	case *command.Envelope_UseTokens:
		return a.useTokens(c.UseTokens)
	case *command.Envelope_CreateArtifact:
		return a.createArtifact(c.CreateArtifact)
	case *command.Envelope_PutSavedSearch:
		return a.putSavedSearch(c.PutSavedSearch)
	case *command.Envelope_DeleteSavedSearch:
		return a.deleteSavedSearch(c.DeleteSavedSearch.Id)
	case *command.Envelope_ResealSecrets:
		return a.resealSecrets(c.ResealSecrets)
	case *command.Envelope_SetRetention:
		return a.setRetention(c.SetRetention)
	case *command.Envelope_NoteRetentionTime:
		return a.noteRetentionTime()
	case *command.Envelope_Prune:
		return a.prune(c.Prune)
	case *command.Envelope_PruneCache:
		return a.pruneCache(c.PruneCache)
	case *command.Envelope_CreateWebhook:
		return a.createWebhook(c.CreateWebhook)
	case *command.Envelope_UpdateWebhook:
		return a.updateWebhook(c.UpdateWebhook)
	case *command.Envelope_DeleteWebhook:
		return a.deleteWebhook(c.DeleteWebhook.Id)
	case *command.Envelope_TestWebhook:
		return a.testWebhook(c.TestWebhook)
	case *command.Envelope_Redeliver:
		return a.redeliver(c.Redeliver)
	case *command.Envelope_SettleDeliveries:
		return a.settleDeliveries(c.SettleDeliveries)
	default:
		return nil, command.ErrUnknownCommand
	}
}

// newID derives the next id of the current command. The entry's index goes into it, so that even a seed used twice gives
// new ids.
func (a *applier) newID() []byte {
	a.ids++
	var seed [16]byte
	copy(seed[:], a.env.Seed)
	binary.BigEndian.PutUint64(seed[8:], binary.BigEndian.Uint64(seed[8:])^a.index)
	return command.DeriveID(seed[:], a.ids)
}

// nextPlace returns an ordinal that no other token, event or segment of this entry has.
func (a *applier) nextPlace() uint32 {
	a.place++
	return a.place
}

func (a *applier) emit(e watch.Event) {
	e.Cursor = watch.Cursor{Index: a.index, Ordinal: a.nextPlace()}
	e.Size = eventSize(e)
	a.events = append(a.events, e)
}

// eventOverhead is what an event takes beside the encoded size of its row, in bytes: decoded, a row takes more.
const eventOverhead = 512

func eventSize(e watch.Event) int {
	switch {
	case e.Logs != nil:
		n := eventOverhead
		for _, l := range e.Logs.Logs {
			n += len(l.Message) + logOverhead*2
		}
		return n
	case e.FlowRun != nil:
		return eventOverhead + len(e.FlowRun.ParametersJson) + len(e.FlowRun.ContextJson) + len(e.FlowRun.GetState().GetData().GetBlob()) + len(e.FlowRun.GetState().GetMessage())
	case e.TaskRun != nil:
		return eventOverhead + len(e.TaskRun.TaskInputsJson) + len(e.TaskRun.GetState().GetData().GetBlob()) + len(e.TaskRun.GetState().GetMessage())
	default:
		return eventOverhead
	}
}

func ok(id []byte) *command.Result { return &command.Result{Id: id} }

func created(id []byte) *command.Result { return &command.Result{Id: id, Created: true} }

func failed(code command.Result_Code, message string) *command.Result {
	return &command.Result{Code: code, Message: message}
}

func notFound(what string) *command.Result {
	return failed(command.Result_NOT_FOUND, what+" not found")
}

// conflict says that a unique or foreign key would be violated.
func conflict(message string) *command.Result { return failed(command.Result_CONFLICT, message) }

// saved turns the answer of Edit.Save into a result: a taken unique key is the caller's failure, all else is ours.
func saved(err error, success *command.Result, taken string) (*command.Result, error) {
	if errors.Is(err, state.ErrNotUnique) {
		return conflict(taken), nil
	}
	return success, err
}

// cache holds small tables that every run transition consults. The state machine is the only writer, so it is exact as
// long as each write to those tables drops it.
type cache struct {
	queues       []*row.WorkQueue // by name; nil: not loaded
	queuesLoaded bool
	limits       map[string]*row.ConcurrencyLimit // by tag
	limitsLoaded bool
	webhooks     []*row.Webhook // that are not paused
	hooksLoaded  bool
	policies     map[api.ID]*row.Policy // of deployments looked at lately
}

func (c *cache) reset() { *c = cache{} }

func (a *applier) workQueues() ([]*row.WorkQueue, error) {
	if !a.cache.queuesLoaded {
		a.cache.queues = nil
		err := a.tx.EachWorkQueue(func(q *row.WorkQueue) (bool, error) {
			a.cache.queues = append(a.cache.queues, q)
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		a.cache.queuesLoaded = true
	}
	return a.cache.queues, nil
}

func (a *applier) tagLimits() (map[string]*row.ConcurrencyLimit, error) {
	if !a.cache.limitsLoaded {
		a.cache.limits = map[string]*row.ConcurrencyLimit{}
		err := a.tx.EachConcurrencyLimit(func(l *row.ConcurrencyLimit) (bool, error) {
			a.cache.limits[l.Tag] = l
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		a.cache.limitsLoaded = true
	}
	return a.cache.limits, nil
}

// id16 reads an id of a command. One of the wrong length names nothing: it is padded instead of trusted.
func id16(b []byte) (id api.ID) {
	copy(id[:], b)
	return id
}
