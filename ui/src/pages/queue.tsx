import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { Pause, Pencil, Play, Trash2 } from 'lucide-react'
import { agents, queueSlots, workQueue, workQueues, type WorkQueue } from '../api/queues'
import { flowRuns } from '../api/runs'
import { Button } from '../components/button'
import { CommandLine, Id } from '../components/copy'
import { Empty, Loaded } from '../components/feedback'
import { useNames } from '../components/names'
import { Card, Facts, Page, Tags } from '../components/page'
import { Release } from '../components/release'
import { RunTable } from '../components/run-table'
import { StateBadge } from '../components/state-badge'
import { rowLink, Table } from '../components/table'
import { Ago, At } from '../components/time'
import { agentStart } from '../core/commands'
import { queuesThatMatch } from '../core/queue-match'
import { PausedBadge, QueueCriteria, useQueueActions } from './queues'

function Upcoming({ queue }: { queue: WorkQueue }) {
  const { deployments } = useNames()
  const served = (deployments ?? []).filter((d) => queuesThatMatch(d, [queue]).length > 0)
  const all = deployments !== undefined && served.length === deployments.length
  const query = useQuery({
    ...flowRuns({ flow_runs: { state: { type: { any_: ['SCHEDULED'] } }, ...(all ? {} : { deployment_id: { any_: served.slice(0, 50).map((d) => d.id) } }), ...(queue.filter.tags?.length ? { tags: { all_: queue.filter.tags } } : {}) } }, { limit: 20, sort: 'NEXT_SCHEDULED_START_TIME_ASC' }),
    enabled: deployments !== undefined && served.length > 0,
  })
  if (deployments !== undefined && served.length === 0) return <Empty title="No deployment matches this queue">Give a deployment the queue's tags, or edit what the queue serves.</Empty>
  return <Loaded query={query}>{(runs) => runs.length === 0 ? <Empty title="Nothing waits for this queue" /> : <RunTable runs={runs} upcoming />}</Loaded>
}

export function QueuePage() {
  const { id } = useParams({ from: '/shell/queues/$id' })
  const navigate = useNavigate()
  const query = useQuery(workQueue(id))
  const slots = useQuery(queueSlots(id))
  const polling = useQuery(agents())
  const others = useQuery(workQueues())
  const actions = useQueueActions(() => void navigate({ to: '/queues' }))
  const q = query.data
  const mine = polling.data?.filter((a) => a.workQueueIds.includes(id)) ?? []
  const ambiguous = q && (others.data?.filter((w) => w.name === q.name).length ?? 0) > 1
  return (
    <Page
      title={q?.name ?? 'Work queue'}
      titleMark={q && <PausedBadge paused={q.isPaused} />}
      crumbs={[{ label: 'Work queues', link: { to: '/queues' } }]}
      actions={q && (
        <>
          <Button needs="operator" onClick={() => void actions.pause(q)}>{q.isPaused ? <><Play size={15} aria-hidden /> Resume</> : <><Pause size={15} aria-hidden /> Pause</>}</Button>
          <Button needs="operator" onClick={() => actions.edit(q)}><Pencil size={15} aria-hidden /> Edit</Button>
          <Button needs="operator" kind="danger" onClick={() => actions.remove(q)}><Trash2 size={15} aria-hidden /> Delete</Button>
        </>
      )}
    >
      <Loaded query={query}>
        {(q) => (
          <div className="flex flex-col gap-4">
            <Card>
              <div className="flex flex-col gap-4">
                <Facts
                  items={[
                    ['Serves', q.filter.tags?.length && !q.filter.deploymentIds && !q.filter.flowRunnerTypes ? <Tags tags={q.filter.tags} /> : <QueueCriteria queue={q} />],
                    ['In use', <>{q.slotsInUse ?? 0}{q.concurrencyLimit !== null && q.concurrencyLimit !== undefined ? ` of ${q.concurrencyLimit}` : ', no limit'}</>],
                    ['Created', <At at={q.created} />],
                    ['Id', <Id id={q.id} />],
                    q.description && ['Description', q.description],
                  ]}
                />
                <div className="flex flex-col gap-1.5 border-t border-line pt-3">
                  <p className="text-muted">{mine.some((a) => a.live) ? 'Start another agent for this queue:' : 'No agent serves this queue. Start one, on any machine that reaches this server:'}</p>
                  <CommandLine command={agentStart(ambiguous ? q.id : q.name)} />
                </div>
              </div>
            </Card>
            <div className="grid grid-cols-[minmax(0,1fr)] gap-4 xl:grid-cols-2">
              <Card title="Agents" flush>
                <Loaded query={polling} rows={2}>
                  {() => mine.length === 0 ? <Empty title="No agent polls this queue" /> : (
                    <Table
                      label="Agents of this queue" rows={mine} id={(a) => a.id}
                      columns={[
                        { header: 'Agent', cell: (a) => <Link to="/agents" search={{ q: a.name }} className={rowLink}>{a.name}</Link> },
                        { header: 'Host', from: 'sm', cell: (a) => a.hostname },
                        { header: 'Runs', right: true, cell: (a) => a.flowRuns.length },
                        { header: 'Last seen', right: true, cell: (a) => a.live ? <Ago at={a.lastSeen} /> : <span className="text-danger">gone, <Ago at={a.lastSeen} /></span> },
                      ]}
                    />
                  )}
                </Loaded>
              </Card>
              <Card title="Slots in use" flush>
                <Loaded query={slots} rows={2}>
                  {(s) => s.slots.length === 0 ? <Empty title="No run of this queue is under way" /> : (
                    <Table
                      label="Slots in use" rows={s.slots} id={(x) => x.flowRunId}
                      columns={[
                        { header: 'Flow run', cell: (x) => <Link to="/runs/$id" params={{ id: x.flowRunId }} className={rowLink}>{x.flowRunName}</Link> },
                        { header: 'State', cell: (x) => <StateBadge type={x.stateType} name={x.stateName} /> },
                        { header: 'Held by', from: 'sm', cell: (x) => x.agentName ?? x.leaseOwner ?? '–' },
                        { header: 'Since', right: true, cell: (x) => <Ago at={x.since} /> },
                        { header: 'Actions', silent: true, right: true, cell: (x) => <Release kind="flow run" id={x.flowRunId} name={x.flowRunName} /> },
                      ]}
                    />
                  )}
                </Loaded>
              </Card>
            </div>
            <Card title="Next to be given out" flush><Upcoming queue={q} /></Card>
          </div>
        )}
      </Loaded>
      {actions.dialogs}
    </Page>
  )
}
