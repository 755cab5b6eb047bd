import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { ArrowRight, Check, Circle, ZoomOut } from 'lucide-react'
import { useMemo, type ReactNode } from 'react'
import { deployments } from '../api/deployments'
import { agents, workQueues } from '../api/queues'
import { flowRunCount, flowRuns, history, type HistoryInterval } from '../api/runs'
import { clusterHealth } from '../api/system'
import { Button } from '../components/button'
import { CommandLine } from '../components/copy'
import { Empty, Failure, Loaded } from '../components/feedback'
import { HistoryChart } from '../components/history-chart'
import { MeanChart } from '../components/mean-chart'
import { Card, Page } from '../components/page'
import { RunTable } from '../components/run-table'
import { ToneIcon } from '../components/state-badge'
import { Table } from '../components/table'
import { intervals, means } from '../core/history'
import type { RunFilter } from '../core/filter'
import type { Tone } from '../core/states'

const ranges: [string, number][] = [['1h', 1], ['6h', 6], ['24h', 24], ['7d', 168], ['30d', 720]]

const failed = ['FAILED']

function Count({ label, tone, filter, q, tab }: { label: string; tone: Tone; filter: RunFilter; q?: string; tab?: 'upcoming' }) {
  const { data } = useQuery(flowRunCount(filter))
  return (
    <Link to="/runs" search={{ q, tab }} className="flex items-center gap-3 rounded-lg border border-line bg-surface px-4 py-3 hover:border-strong">
      <span className={`tone-${tone} rounded-md bg-(--tone-soft) p-2`}><ToneIcon tone={tone} size={18} /></span>
      <span>
        <span className="block text-[22px] leading-7 font-semibold tabular">{data === undefined ? <span className="skeleton inline-block h-6 w-10 align-middle" /> : data.toLocaleString('en')}</span>
        <span className="text-[13px] text-muted">{label}</span>
      </span>
    </Link>
  )
}

function ClusterStrip() {
  const { data } = useQuery(clusterHealth())
  if (!data) return <span className="skeleton block h-12" />
  const tone = data.status === 'healthy' ? 'completed' : data.status === 'degraded' ? 'late' : 'failed'
  return (
    <Link to="/cluster" className="flex flex-wrap items-center gap-x-4 gap-y-2 rounded-lg border border-line bg-surface px-4 py-2.5 hover:border-strong">
      <span className={`tone-${tone} inline-flex items-center gap-1.5 font-medium text-(--tone)`}><ToneIcon tone={tone} size={15} /> Cluster {data.status}</span>
      <span className="text-muted">
        {data.voters === 1 ? (data.members.length > 1 ? 'the other nodes have no vote yet' : 'one node: add two to survive the loss of any') : data.lossesLeft < 0 ? 'the quorum is lost' : `can lose ${data.lossesLeft} more ${data.lossesLeft === 1 ? 'node' : 'nodes'}`}
      </span>
      <span className="ml-auto flex flex-wrap gap-1.5">
        {data.members.map((m) => (
          <span key={m.id} className={`${m.alive && !m.halted ? 'tone-completed' : 'tone-failed'} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] text-(--tone)`}>
            <ToneIcon tone={m.alive && !m.halted ? 'completed' : 'failed'} size={12} /> {m.name}{m.leader ? ', leader' : ''}{m.alive ? '' : ', gone'}
          </span>
        ))}
      </span>
    </Link>
  )
}

function Step({ done, title, children }: { done: boolean; title: string; children: ReactNode }) {
  return (
    <li className="flex gap-3">
      <span className={`${done ? 'tone-completed bg-(--tone-soft) text-(--tone)' : 'bg-sunken text-muted'} mt-0.5 inline-flex size-6 shrink-0 items-center justify-center rounded-full`}>{done ? <Check size={14} aria-hidden /> : <Circle size={12} aria-hidden />}</span>
      <div className="flex min-w-0 flex-1 flex-col gap-1.5">
        <p className={`font-medium ${done ? 'text-muted' : ''}`}>{title}{done && <span className="sr-only"> (done)</span>}</p>
        {!done && children}
      </div>
    </li>
  )
}

/** Start is the way to a first run; its steps are ticked off as they happen. */
function Start({ runs }: { runs: number | undefined }) {
  const d = useQuery(deployments())
  const q = useQuery(workQueues())
  const a = useQuery(agents())
  if (runs === undefined || runs > 0 || !d.data || !q.data || !a.data) return null
  return (
    <Card title="From here to the first run">
      <ol className="flex flex-col gap-4">
        <Step done title="The server runs">{null}</Step>
        <Step done={d.data.length > 0} title="Create a deployment of a flow"><CommandLine command="sluice deployment create leo_deployment.py" /></Step>
        <Step done={q.data.length > 0} title="Create a work queue"><CommandLine command="sluice work-queue create --tag tutorial tutorial_queue" /></Step>
        <Step done={a.data.some((x) => x.live)} title="Start an agent"><CommandLine command={`sluice agent start ${q.data[0]?.name ?? 'tutorial_queue'}`} /></Step>
        <Step done={false} title="Run it"><p className="text-muted">With Quick Run on the <Link to="/deployments" className="text-accent underline">deployments page</Link>.</p></Step>
      </ol>
    </Card>
  )
}

function Means({ history }: { history: HistoryInterval[] }) {
  const all = useMemo(() => means(history), [history])
  return (
    <div className="mt-4 grid grid-cols-[minmax(0,1fr)] gap-x-8 gap-y-4 border-t border-line pt-3 sm:grid-cols-2">
      <MeanChart title="How long runs took" means={all} of={(m) => m.duration} tone="running" />
      <MeanChart title="How late they began" means={all} of={(m) => m.lateness} tone="late" />
    </div>
  )
}

export function Dashboard() {
  const { from, to, range = '24h' } = useSearch({ from: '/shell/' })
  const navigate = useNavigate()
  const quarter = Math.floor(Date.now() / 300_000)
  const span = useMemo(() => {
    const now = (quarter + 1) * 300_000
    const hours = ranges.find(([name]) => name === range)?.[1] ?? 24
    return from && to ? { start: from, end: to } : { start: now - hours * 3_600_000, end: now + hours * 600_000 }
  }, [from, to, range, quarter])
  const cut = useMemo(() => {
    const c = intervals(span)
    return { start: new Date(c.start).toISOString(), end: new Date(c.end).toISOString(), seconds: c.seconds }
  }, [span])
  const chart = useQuery(history({}, cut))
  const inSpan = { expected_start_time: { after_: cut.start, before_: cut.end } }
  const timeText = `after:${cut.start.slice(0, 19)}Z before:${cut.end.slice(0, 19)}Z`
  const failures = useQuery(flowRuns({ flow_runs: { state: { type: { any_: failed } }, ...inSpan } }, { limit: 6 }))
  const next = useQuery(flowRuns({ flow_runs: { state: { type: { any_: ['SCHEDULED'] } } } }, { limit: 6, sort: 'NEXT_SCHEDULED_START_TIME_ASC' }))
  const any = useQuery(flowRunCount({}))
  const queues = useQuery(workQueues())
  const polling = useQuery(agents())
  return (
    <Page
      wide title="Dashboard"
      actions={
        <span role="group" aria-label="Range" className="inline-flex items-center gap-0.5 rounded-md border border-line bg-surface p-0.5">
          {from && to && <Button small kind="quiet" onClick={() => void navigate({ to: '/', search: { range } })}><ZoomOut size={14} aria-hidden /> Zoom out</Button>}
          {ranges.map(([name]) => (
            <Link key={name} to="/" search={{ range: name }} replace aria-current={!from && range === name ? 'true' : undefined} className={`rounded px-2 py-0.5 text-[13px] ${!from && range === name ? 'bg-accent-soft font-medium text-accent' : 'text-muted hover:text-text'}`}>{name}</Link>
          ))}
        </span>
      }
    >
      <div className="flex flex-col gap-4">
        <Start runs={any.data} />
        <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
          <Count label="running now" tone="running" filter={{ flow_runs: { state: { type: { any_: ['RUNNING', 'PENDING'] } } } }} q="state:running|pending" />
          <Count label="late" tone="late" filter={{ flow_runs: { state: { type: { any_: ['SCHEDULED'] }, name: { any_: ['Late'] } } } }} q="state:late" />
          <Count label={from ? 'failed in this span' : `failed, last ${range}`} tone="failed" filter={{ flow_runs: { state: { type: { any_: failed } }, ...inSpan } }} q={`state:failed ${timeText}`} />
          <Count label="scheduled" tone="scheduled" filter={{ flow_runs: { state: { type: { any_: ['SCHEDULED'] } } } }} tab="upcoming" />
        </div>
        <Card title="Runs" aside={<span className="text-[13px] text-muted">draw over the chart to zoom</span>}>
          {chart.data ? <><HistoryChart history={chart.data} height={180} onBrush={(s) => void navigate({ to: '/', search: { range, from: s.start, to: s.end } })} /><Means history={chart.data} /></> : chart.error ? <Failure error={chart.error} retry={() => void chart.refetch()} /> : <span className="skeleton block h-56" />}
        </Card>
        <ClusterStrip />
        <div className="grid grid-cols-[minmax(0,1fr)] items-start gap-4 xl:grid-cols-2">
          <Card title="Latest failures" flush aside={<Link to="/runs" search={{ q: `state:failed ${timeText}` }} className="inline-flex items-center gap-1 text-[13px] text-accent hover:underline">all <ArrowRight size={13} aria-hidden /></Link>}>
            <Loaded query={failures} rows={4}>{(runs) => (runs.length === 0 ? <Empty title="No failures in this time" /> : <RunTable runs={runs} compact />)}</Loaded>
          </Card>
          <div className="flex min-w-0 flex-col gap-4">
            <Card title="Work queues" flush>
              <Loaded query={queues} rows={3}>
                {(all) => all.length === 0 ? <Empty title="No work queues yet" command="sluice work-queue create --tag tutorial tutorial_queue" /> : (
                  <Table
                    label="Work queues" rows={[...all].sort((a, b) => a.name.localeCompare(b.name)).slice(0, 8)} id={(w) => w.id}
                    columns={[
                      { header: 'Queue', cell: (w) => <Link to="/queues/$id" params={{ id: w.id }} className="font-medium hover:underline">{w.name}</Link> },
                      {
                        header: 'Health',
                        cell: (w) => {
                          const n = polling.data?.filter((a) => a.live && a.workQueueIds.includes(w.id)).length ?? 0
                          const [tone, text]: [Tone, string] = w.isPaused ? ['late', 'paused'] : n === 0 ? ['failed', 'no agent'] : ['completed', `${n} ${n === 1 ? 'agent' : 'agents'}`]
                          return <span className={`tone-${tone} inline-flex items-center gap-1.5 text-(--tone)`}><ToneIcon tone={tone} size={13} /> {text}</span>
                        },
                      },
                      { header: 'In use', right: true, cell: (w) => `${w.slotsInUse ?? 0}${w.concurrencyLimit != null ? ` of ${w.concurrencyLimit}` : ''}` },
                    ]}
                  />
                )}
              </Loaded>
            </Card>
            <Card title="Next" flush aside={<Link to="/runs" search={{ tab: 'upcoming' }} className="inline-flex items-center gap-1 text-[13px] text-accent hover:underline">all <ArrowRight size={13} aria-hidden /></Link>}>
              <Loaded query={next} rows={3}>{(runs) => (runs.length === 0 ? <Empty title="Nothing is scheduled" /> : <RunTable runs={runs} upcoming compact />)}</Loaded>
            </Card>
          </div>
        </div>
      </div>
    </Page>
  )
}
