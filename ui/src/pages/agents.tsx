import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { Trash2 } from 'lucide-react'
import { agents, forgetAgent, workQueues, type Agent } from '../api/queues'
import { buttonClass, IconButton } from '../components/button'
import { CommandLine } from '../components/copy'
import { Empty, Loaded } from '../components/feedback'
import { Input } from '../components/field'
import { QueueLink } from '../components/names'
import { Card, Page } from '../components/page'
import { ToneIcon } from '../components/state-badge'
import { Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import { agentStart } from '../core/commands'

export function Agents() {
  const { q = '' } = useSearch({ from: '/shell/agents' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(agents())
  const queues = useQuery(workQueues())
  const columns: Column<Agent>[] = [
    { header: 'Agent', cell: (a) => <div className="min-w-28"><span className="font-medium">{a.name}</span><div className="text-[13px] text-muted">{a.hostname}</div></div> },
    {
      header: 'Health',
      cell: (a) => (
        <span className={`${a.live ? 'tone-completed' : 'tone-failed'} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)`}>
          <ToneIcon tone={a.live ? 'completed' : 'failed'} size={13} /> {a.live ? 'Live' : 'Gone'}
        </span>
      ),
    },
    { header: 'Work queues', from: 'md', cell: (a) => <span className="flex flex-wrap gap-x-2">{a.workQueueIds.map((id) => <QueueLink key={id} id={id} />)}</span> },
    {
      header: 'Executes', from: 'sm',
      cell: (a) => a.flowRuns.length === 0 ? <span className="text-muted">nothing</span> : (
        <span className="flex flex-wrap gap-x-2">{a.flowRuns.slice(0, 4).map((id) => <Link key={id} to="/runs/$id" params={{ id }} className="text-accent hover:underline">{id.slice(0, 8)}</Link>)}{a.flowRuns.length > 4 && <span className="text-muted">and {a.flowRuns.length - 4} more</span>}</span>
      ),
    },
    { header: 'Version', from: 'lg', cell: (a) => <span className="text-muted">{a.version || '–'}</span> },
    { header: 'Last seen', right: true, cell: (a) => <Ago at={a.lastSeen} /> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (a) => a.live ? null : (
        <IconButton label={`Forget ${a.name}`} onClick={() => void forgetAgent(a.id).then(() => { tell(`Forgot ${a.name}.`); void cache.invalidateQueries({ queryKey: ['agents'] }) }, tellFailure)}><Trash2 size={15} aria-hidden /></IconButton>
      ),
    },
  ]
  const start = agentStart(queues.data?.[0]?.name ?? 'tutorial_queue')
  return (
    <Page title="Agents" wide>
      <div className="flex flex-col gap-4">
        <Card flush aside={<Input data-search type="search" aria-label="Find agents" placeholder="Find by name or host" value={q} onChange={(e) => void navigate({ to: '/agents', search: { q: e.target.value || undefined }, replace: true })} className="max-w-80" />}>
          <Loaded query={query}>
            {(all) => {
              const shown = all.filter((a) => `${a.name} ${a.hostname}`.toLowerCase().includes(q.toLowerCase())).sort((a, b) => Number(b.live) - Number(a.live) || a.name.localeCompare(b.name))
              if (all.length === 0) return <Empty title="No agents" command={start}>An agent takes runs from work queues and executes them, on this machine or any other that reaches this server.</Empty>
              if (shown.length === 0) return <Empty title={`Nothing matches “${q}”`} action={<Link to="/agents" className={buttonClass()}>Show all</Link>} />
              return <Table label="Agents" columns={columns} rows={shown} id={(a) => a.id} />
            }}
          </Loaded>
        </Card>
        {(query.data?.length ?? 0) > 0 && <div className="flex flex-col gap-1.5"><p className="text-muted">Start another one:</p><CommandLine command={start} /></div>}
      </div>
    </Page>
  )
}
