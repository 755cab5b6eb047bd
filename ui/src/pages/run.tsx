import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Ban, ChevronLeft, ChevronRight, Flag, Link2, Play, RotateCcw, SlidersHorizontal, Trash2 } from 'lucide-react'
import { lazy, Suspense, useMemo, useState } from 'react'
import { allTaskRuns, callers, cancelRun, deleteRun, flowRun, flowRuns, rerunRun, retryRun, runStates, setRunState, subflows, taskRun, taskRunCount, type FlowRun, type RunSort } from '../api/runs'
import { artifactsOf } from '../api/artifacts'
import { Button, IconButton } from '../components/button'
import { copy, Id } from '../components/copy'
import { Confirm } from '../components/dialog'
import { Explain } from '../components/explain'
import { Empty, Failure, Loaded, Skeleton } from '../components/feedback'
import { JSONView, RawJSON } from '../components/json-view'
import { LogView } from '../components/log-view'
import { Menu } from '../components/menu'
import { DeploymentLink, FlowLink, QueueLink, useNames } from '../components/names'
import { Card, Facts, Page, Tags } from '../components/page'
import { RunTable } from '../components/run-table'
import { SetState } from '../components/state-choice'
import { StateBadge, StateMessage } from '../components/state-badge'
import { StatesList } from '../components/states-list'
import { TabLinks } from '../components/tabs'
import { useTaskNames } from '../components/task-names'
import { TaskTable } from '../components/task-table'
import { At, ScheduleZone, Took } from '../components/time'
import { Timeline } from '../components/timeline'
import { tell, tellFailure } from '../components/toasts'
import { printJSON } from '../core/json'
import { isTerminal, isWaiting, shortTask } from '../core/states'
import { duration } from '../core/time'

const Graph = lazy(() => import('../components/graph'))
const Artifact = lazy(() => import('../components/artifact-view').then((m) => ({ default: m.ArtifactView })))

function Actions({ run }: { run: FlowRun }) {
  const navigate = useNavigate()
  const cache = useQueryClient()
  const { deployment } = useNames()
  const [doomed, setDoomed] = useState(false)
  const [stating, setStating] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const changed = () => void cache.invalidateQueries({ queryKey: ['flow-run', run.id] })
  const ended = isTerminal(run.stateType)
  const open = (r: FlowRun) => {
    tell(<>Created the flow run {r.name}.</>)
    void navigate({ to: '/runs/$id', params: { id: r.id } })
  }
  return (
    <>
      {!ended && (
        <Button needs="operator" kind="danger" data-key="c" disabled={run.stateName === 'Cancelling'} onClick={() => void cancelRun(run.id).then(() => { changed(); tell('Asked to cancel the run.') }, tellFailure)}>
          <Ban size={15} aria-hidden /> Cancel
        </Button>
      )}
      {ended && run.stateType !== 'COMPLETED' && run.deploymentId && !run.parentTaskRunId && (
        <Button needs="operator" onClick={() => void retryRun(run.id).then(changed, tellFailure)}><RotateCcw size={15} aria-hidden /> Retry</Button>
      )}
      {run.deploymentId && <Button needs="operator" data-key="r" onClick={() => void rerunRun(run.id).then(open, tellFailure)}><Play size={15} aria-hidden /> Run again</Button>}
      <Menu
        label="More"
        items={[
          !!run.deploymentId && { label: 'Run again with changes…', needs: 'operator', icon: <SlidersHorizontal size={15} aria-hidden />, onSelect: () => void navigate({ to: '/deployments/$id/run', params: { id: run.deploymentId! }, search: { params: printJSON(run.parameters, 0), tags: run.tags.filter((t) => !deployment(run.deploymentId)?.tags.includes(t)).join(' ') || undefined } }) },
          { label: 'Set the state…', needs: 'operator', icon: <Flag size={15} aria-hidden />, onSelect: () => setStating(true) },
          { label: 'Copy the link', icon: <Link2 size={15} aria-hidden />, onSelect: () => void copy(location.href).then(() => tell('Copied the link.')) },
          { label: 'Delete…', needs: 'operator', danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => setDoomed(true) },
        ]}
      />
      {stating && <SetState name={run.name} set={(r) => setRunState(run.id, r)} onClose={() => setStating(false)} onDone={() => { setStating(false); changed(); void cache.invalidateQueries({ queryKey: ['flow-run-states', run.id] }) }} />}
      {doomed && (
        <Confirm
          title={`Delete ${run.name}?`} action="Delete the run" onClose={() => { setDoomed(false); setError(null) }} error={error ? <Failure error={error} /> : null}
          onConfirm={() => void deleteRun(run.id).then(() => { tell(`Deleted ${run.name}.`); void navigate({ to: '/runs' }) }, setError)}
        >
          <p>It goes with its states, its task runs and its log.</p>
        </Confirm>
      )}
    </>
  )
}

/** Neighbours lead to the runs of the same deployment before and after this one. */
function Neighbours({ run }: { run: FlowRun }) {
  const navigate = useNavigate()
  const at = run.expectedStartTime
  const of = (time: object, sort: RunSort) => ({
    ...flowRuns({ flow_runs: { deployment_id: { any_: [run.deploymentId] }, state: { type: { any_: ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] } }, expected_start_time: time } }, { limit: 2, sort }), enabled: !!run.deploymentId && !!at, staleTime: 30_000, meta: undefined,
  })
  const before = useQuery(of({ before_: at }, 'EXPECTED_START_TIME_DESC')).data?.find((r) => r.id !== run.id)
  const after = useQuery(of({ after_: at }, 'EXPECTED_START_TIME_ASC')).data?.find((r) => r.id !== run.id)
  if (!run.deploymentId) return null
  const open = (r: FlowRun | undefined) => r && void navigate({ to: '/runs/$id', params: { id: r.id } })
  return (
    <span className="inline-flex">
      <IconButton data-key="[" label="Previous run of the deployment" disabled={!before} onClick={() => open(before)}><ChevronLeft size={16} aria-hidden /></IconButton>
      <IconButton data-key="]" label="Next run of the deployment" disabled={!after} onClick={() => open(after)}><ChevronRight size={16} aria-hidden /></IconButton>
    </span>
  )
}

/** Usual compares how long the run took with the runs before it. */
function Usual({ run }: { run: FlowRun }) {
  const { data } = useQuery({
    ...flowRuns({ flow_runs: { deployment_id: { any_: [run.deploymentId] }, state: { type: { any_: ['COMPLETED'] } } } }, { limit: 20 }),
    enabled: !!run.deploymentId && !!run.endTime, staleTime: 60_000, meta: undefined,
  })
  const times = (data ?? []).filter((r) => r.id !== run.id).map((r) => r.totalRunTime).sort((a, b) => a - b)
  if (times.length < 3) return null
  return <span className="block text-[13px] text-muted">usually {duration(times[Math.floor(times.length / 2)])}</span>
}

export function Run() {
  const { id } = useParams({ from: '/shell/runs/$id' })
  const search = useSearch({ from: '/shell/runs/$id' })
  const navigate = useNavigate()
  const query = useQuery(flowRun(id))
  const run = query.data
  const tab = search.tab ?? 'logs'
  const states = useQuery({ ...runStates(id), enabled: tab === 'states' })
  const tasks = useQuery({ ...allTaskRuns(id), enabled: tab === 'tasks' || tab === 'timeline' })
  const count = useQuery(taskRunCount(id))
  const failed = useQuery(taskRunCount(id, ['FAILED']))
  const shown = useQuery(artifactsOf(id))
  const calling = useQuery(callers(id))
  const children = useMemo(() => (calling.data ?? []).map((t) => t.id), [calling.data])
  const sub = useQuery(subflows(children))
  const parent = useParent(run)
  const taskName = useTaskNames(tab === 'artifacts' ? (shown.data ?? []).map((a) => a.taskRunId) : [])
  const { deployment, deploymentName } = useNames()
  const at = (tab?: string) => ({ to: '/runs/$id' as const, params: { id }, search: tab ? { tab } : {} })
  const following = !!run && !isTerminal(run.stateType)
  if (query.error && !run) return <Page title="Flow run" crumbs={[{ label: 'Runs', link: { to: '/runs' } }]}><Failure error={query.error} retry={() => void query.refetch()} /></Page>
  return (
    <Page
      wide
      title={run?.name ?? 'Flow run'}
      titleMark={run && <StateBadge type={run.stateType} name={run.stateName} large />}
      crumbs={[{ label: 'Runs', link: { to: '/runs' } }, ...(run?.deploymentId && deploymentName(run.deploymentId) ? [{ label: deploymentName(run.deploymentId)!, link: { to: '/deployments/$id' as const, params: { id: run.deploymentId } } }] : [])]}
      actions={run && <><Neighbours run={run} /><Actions run={run} /></>}
    >
      {!run ? <Skeleton rows={8} /> : (
        <ScheduleZone value={deployment(run.deploymentId)?.schedule?.timezone}>
        <div className="flex flex-col gap-4">
          {run.state?.message && run.stateType !== 'COMPLETED' && !isWaiting(run.stateType) && <StateMessage type={run.stateType} name={run.stateName} message={run.state.message} />}
          {isWaiting(run.stateType) && <Explain runId={id} />}
          <Card>
            <Facts
              items={[
                ['Flow', <FlowLink id={run.flowId} />],
                run.deploymentId && ['Deployment', <DeploymentLink id={run.deploymentId} short />],
                ['Tags', run.tags.length > 0 ? <Tags tags={run.tags} /> : '–'],
                run.startTime ? ['Started', <At at={run.startTime} />] : ['Due', <At at={run.nextScheduledStartTime ?? run.expectedStartTime} />],
                ['Took', <><Took start={run.startTime} end={run.endTime} seconds={run.totalRunTime} /><Usual run={run} /></>],
                run.workQueueId && ['Work queue', <QueueLink id={run.workQueueId} />],
                run.agentName && ['Agent', <Link to="/agents" search={{ q: run.agentName }} className="hover:underline">{run.agentName}</Link>],
                run.runCount > 1 && ['Attempts', run.runCount],
                run.rerunOf && ['Repeats', <Link to="/runs/$id" params={{ id: run.rerunOf }} className="hover:underline">{run.rerunOf.slice(0, 8)}</Link>],
                parent && ['Part of', <Link to="/runs/$id" params={{ id: parent.flowRunId }} className="hover:underline">the run that called it</Link>],
                ['Id', <Id id={run.id} />],
              ]}
            />
          </Card>
          <Card
            flush
            title={
              <TabLinks
                label="About the run"
                tabs={[
                  { label: 'Logs', to: at(), active: tab === 'logs' },
                  { label: 'Task runs', to: at('tasks'), active: tab === 'tasks', count: count.data },
                  { label: 'Timeline', to: at('timeline'), active: tab === 'timeline' },
                  { label: 'Graph', to: at('graph'), active: tab === 'graph' },
                  { label: 'Subflows', to: at('subflows'), active: tab === 'subflows', count: children.length || undefined },
                  { label: 'Artifacts', to: at('artifacts'), active: tab === 'artifacts', count: shown.data?.length || undefined },
                  { label: 'States', to: at('states'), active: tab === 'states' },
                  { label: 'Parameters', to: at('parameters'), active: tab === 'parameters' },
                  { label: 'Details', to: at('details'), active: tab === 'details' },
                ]}
              />
            }
            aside={(failed.data ?? 0) > 0 && tab !== 'tasks' && <Link {...at('tasks')} className="tone-failed rounded bg-(--tone-soft) px-2 text-[13px] font-medium text-(--tone) hover:underline">{failed.data} failed {failed.data === 1 ? 'task run' : 'task runs'}</Link>}
          >
            {tab === 'logs' && (
              <LogView
                runId={id} runName={run.name} following={following} level={search.level ?? 0} find={search.find ?? ''} taskId={search.task} line={search.line}
                onChange={(change) => void navigate({ to: '/runs/$id', params: { id }, search: (s) => ({ ...s, ...change }), replace: true, resetScroll: false })}
              />
            )}
            {tab === 'tasks' && <Loaded query={tasks}>{(all) => <TaskTable runId={id} tasks={all} />}</Loaded>}
            {tab === 'timeline' && <Loaded query={tasks}>{(all) => <Timeline runId={id} tasks={all} from={run.startTime} following={following} />}</Loaded>}
            {tab === 'graph' && <Suspense fallback={<Skeleton />}><Graph runId={id} /></Suspense>}
            {tab === 'subflows' && (children.length === 0 ? <Empty title="This run called no other flows" /> : <Loaded query={sub}>{(runs) => <RunTable runs={runs} />}</Loaded>)}
            {tab === 'artifacts' && (
              <Loaded query={shown}>
                {(all) => all.length === 0 ? <Empty title="This run has shown nothing">A flow shows tables, texts and links with <code>create_table</code>, <code>create_markdown</code> and <code>create_link</code> of <code>sluice.artifacts</code>.</Empty> : (
                  <Suspense fallback={<Skeleton />}>
                    <div className="flex flex-col gap-4 bg-bg p-4">
                      {all.map((a, i) => <Artifact key={a.id} of={a} open={i < 10} more={a.taskRunId && <Link to="/runs/$id/tasks/$taskId" params={{ id, taskId: a.taskRunId }} className="text-accent hover:underline">{shortTask(taskName(a.taskRunId) ?? 'its task run')}</Link>} />)}
                    </div>
                  </Suspense>
                )}
              </Loaded>
            )}
            {tab === 'states' && <div className="p-4"><Loaded query={states} rows={3}>{(all) => <StatesList states={all} />}</Loaded></div>}
            {tab === 'parameters' && <div className="p-4">{Object.keys(run.parameters).length === 0 ? <Empty title="This run has no parameters of its own">The flow's defaults hold.</Empty> : <JSONView value={run.parameters} label="parameters" />}</div>}
            {tab === 'details' && (
              <div className="flex flex-col gap-4 p-4">
                <Facts
                  items={[
                    ['Created', <At at={run.created} />], ['Expected start', <At at={run.expectedStartTime} />], ['Ended', <At at={run.endTime} />],
                    ['Started late by', duration(run.estimatedStartTimeDelta)],
                    ['Made by', run.autoScheduled ? 'its schedule' : 'hand or program'],
                    ['Flow version', run.flowVersion ?? '–'], ['Flow runner', run.flowRunner?.type ?? '–'], ['Executed by', run.leaseOwner ?? '–'],
                    ['Priority', run.priority ?? '–'], ['Time limit', run.runTimeoutSeconds ? duration(run.runTimeoutSeconds) : 'none'],
                    ['Crash retries', `${run.crashRetries ?? 0} of ${run.crashRetriesMax ?? 0}`], ['Idempotency key', run.idempotencyKey ?? '–'],
                  ]}
                />
                <RawJSON path={`/flow_runs/${id}`} label="the run as JSON" />
              </div>
            )}
          </Card>
        </div>
        </ScheduleZone>
      )}
    </Page>
  )
}

/** useParent is the task run that called this run, if one did. */
function useParent(run: FlowRun | undefined) {
  return useQuery({ ...taskRun(run?.parentTaskRunId ?? ''), enabled: !!run?.parentTaskRunId }).data
}
