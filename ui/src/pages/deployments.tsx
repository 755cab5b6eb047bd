import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { Pause, Play, SlidersHorizontal, Trash2, TriangleAlert, Zap } from 'lucide-react'
import { useRef, useState } from 'react'
import { deleteDeployment, deployments, flows, lastRuns, nextRun, runDeployment, setSchedule, type Deployment } from '../api/deployments'
import { workQueues, type WorkQueue } from '../api/queues'
import { Button, buttonClass } from '../components/button'
import { DeploymentBulk } from '../components/deployment-bulk'
import { Confirm } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Input, Switch } from '../components/field'
import { Menu } from '../components/menu'
import { Card, Page, Tags } from '../components/page'
import { RunStrip } from '../components/run-strip'
import { rowLink, Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import { queuesThatMatch } from '../core/queue-match'
import { pickRows } from '../core/rows'
import { scheduleWords } from '../core/schedule'

/** quickRun makes a run with the deployment's own parameters and says its name. */
export async function quickRun(d: { id: string }) {
  try {
    const run = await runDeployment(d.id)
    tell(<>Created the flow run <Link to="/runs/$id" params={{ id: run.id }} className="font-medium text-accent underline">{run.name}</Link>.</>)
  } catch (error) {
    tellFailure(error)
  }
}

function LastRuns({ id }: { id: string }) {
  const { data } = useQuery(lastRuns(id))
  return data ? <RunStrip runs={data} /> : <span className="skeleton block h-6 w-40" />
}

export function NextRun({ d }: { d: Deployment }) {
  const { data } = useQuery({ ...nextRun(d.id), enabled: !!d.schedule && d.isScheduleActive })
  const next = data?.[0]
  return next ? <Ago at={next.nextScheduledStartTime ?? next.expectedStartTime} /> : null
}

function Schedule({ d, onChange }: { d: Deployment; onChange: () => void }) {
  if (!d.schedule) return <span className="text-muted">by hand</span>
  return (
    <span className="flex items-center gap-2.5">
      <Switch
        needs="operator"
        on={d.isScheduleActive}
        label={`Schedule of ${d.name}`}
        onChange={(on) => void setSchedule(d.id, on).then(onChange, tellFailure)}
      />
      <span className="min-w-0">
        <span className="block">{scheduleWords(d.schedule)}</span>
        <span className="block text-[13px] text-muted">{d.isScheduleActive ? <>next <NextRun d={d} /></> : 'paused'}</span>
      </span>
    </span>
  )
}

export function MatchingQueues({ d, queues }: { d: Deployment; queues: WorkQueue[] | undefined }) {
  if (!queues) return <span className="skeleton block h-4 w-20" />
  const found = queuesThatMatch(d, queues)
  if (found.length === 0) {
    return (
      <Link to="/queues" search={{ new: true }} className="tone-late inline-flex items-center gap-1.5 rounded bg-(--tone-soft) px-1.5 text-[13px] font-medium text-(--tone) hover:underline">
        <TriangleAlert size={13} aria-hidden /> no queue matches
      </Link>
    )
  }
  return (
    <span className="flex flex-wrap gap-x-2">
      {found.slice(0, 3).map((q) => (
        <Link key={q.id} to="/queues/$id" params={{ id: q.id }} className="hover:underline">
          {q.name}
          {q.isPaused && <span className="text-muted"> (paused)</span>}
        </Link>
      ))}
      {found.length > 3 && <span className="text-muted">and {found.length - 3} more</span>}
    </span>
  )
}

export function useDeploymentColumns(onDelete: (d: Deployment) => void, withFlow = true): Column<Deployment>[] {
  const cache = useQueryClient()
  const navigate = useNavigate()
  const names = useQuery(flows())
  const queues = useQuery(workQueues())
  const changed = () => void cache.invalidateQueries({ queryKey: ['deployments'] })
  return [
    {
      header: 'Deployment',
      cell: (d) => (
        <div className="min-w-36">
          <Link to="/deployments/$id" params={{ id: d.id }} className={rowLink}>{d.name}</Link>
          <div className="flex flex-wrap items-baseline gap-x-2.5 gap-y-0.5 text-[13px] text-muted">
            {withFlow && <Link to="/flows/$id" params={{ id: d.flowId }} className="hover:text-text hover:underline">{names.data?.find((f) => f.id === d.flowId)?.name ?? '…'}</Link>}
            <Tags tags={d.tags} />
          </div>
        </div>
      ),
    },
    { header: 'Schedule', from: 'md', cell: (d) => <Schedule d={d} onChange={changed} /> },
    { header: 'Last runs', from: 'lg', cell: (d) => <LastRuns id={d.id} /> },
    { header: 'Work queues', from: 'lg', cell: (d) => <MatchingQueues d={d} queues={queues.data} /> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (d) => (
        <span className="flex items-center justify-end gap-1">
          <Button needs="operator" small onClick={() => void quickRun(d)} aria-label={`Quick Run of ${d.name}`}>
            <Zap size={14} aria-hidden /> Quick Run
          </Button>
          <Menu
            label={`More for ${d.name}`}
            items={[
              { label: 'Custom run…', needs: 'operator', icon: <SlidersHorizontal size={15} aria-hidden />, onSelect: () => void navigate({ to: '/deployments/$id/run', params: { id: d.id } }) },
              !!d.schedule && { label: d.isScheduleActive ? 'Pause the schedule' : 'Resume the schedule', needs: 'operator', icon: d.isScheduleActive ? <Pause size={15} aria-hidden /> : <Play size={15} aria-hidden />, onSelect: () => void setSchedule(d.id, !d.isScheduleActive).then(changed, tellFailure) },
              { label: 'Delete…', needs: 'deployer', danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => onDelete(d) },
            ]}
          />
        </span>
      ),
    },
  ]
}

export function DeleteDeployment({ d, onClose, onDone }: { d: Deployment; onClose: () => void; onDone: () => void }) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const go = async () => {
    setBusy(true)
    try {
      await deleteDeployment(d.id)
      tell(`Deleted the deployment ${d.name}.`)
      onDone()
    } catch (e) {
      setError(e)
    }
    setBusy(false)
  }
  return (
    <Confirm title={`Delete ${d.name}?`} action="Delete the deployment" onConfirm={() => void go()} onClose={onClose} busy={busy} error={error ? <Failure error={error} /> : null}>
      <p>Its scheduled runs that have not begun go with it. Runs that have begun stay.</p>
    </Confirm>
  )
}

/** Deployments lists all of them, scheduled or not. */
export function Deployments() {
  const { q = '' } = useSearch({ from: '/shell/deployments' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(deployments())
  const names = useQuery(flows())
  const [doomed, setDoomed] = useState<Deployment | null>(null)
  const [selected, setSelected] = useState(new Set<string>())
  const anchor = useRef<string | null>(null)
  const columns = useDeploymentColumns(setDoomed)
  const wanted = q.toLowerCase()
  return (
    <Page title="Deployments" wide>
      <Card
        flush
        aside={
          <>
            <Input data-search type="search" aria-label="Find deployments" placeholder="Find by name, flow or tag" value={q} onChange={(e) => void navigate({ to: '/deployments', search: { q: e.target.value || undefined }, replace: true })} className="max-w-80" />
            <span className="text-[13px] text-muted">{query.data ? `${query.data.length} deployments` : ''}</span>
          </>
        }
      >
        <Loaded query={query}>
          {(all) => {
            const shown = all
              .filter((d) => !wanted || `${names.data?.find((f) => f.id === d.flowId)?.name}/${d.name}`.toLowerCase().includes(wanted) || d.tags.some((t) => t.toLowerCase().includes(wanted)))
              .sort((a, b) => a.name.localeCompare(b.name))
            if (all.length === 0) {
              return <Empty title="No deployments yet" command="sluice deployment create leo_deployment.py">A deployment says where a flow's code is, with which parameters and when it runs. Write one in Python or YAML and create it:</Empty>
            }
            if (shown.length === 0) return <Empty title={`Nothing matches “${q}”`} action={<Link to="/deployments" className={buttonClass()}>Show all</Link>} />
            const select = (id: string, range: boolean) => {
              setSelected(pickRows(selected, shown.map((d) => d.id), id, range ? anchor.current : null))
              anchor.current = id
            }
            const chosen = shown.filter((d) => selected.has(d.id))
            return (
              <>
                {chosen.length > 0 && <DeploymentBulk chosen={chosen} onClear={() => setSelected(new Set())} />}
                <Table label="Deployments" columns={columns} rows={shown} id={(d) => d.id} selected={selected} onSelect={select} onSelectAll={(on) => setSelected(on ? new Set(shown.map((d) => d.id)) : new Set())} />
              </>
            )
          }}
        </Loaded>
      </Card>
      {doomed && <DeleteDeployment d={doomed} onClose={() => setDoomed(null)} onDone={() => { setDoomed(null); void cache.invalidateQueries({ queryKey: ['deployments'] }) }} />}
    </Page>
  )
}
