import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { deployments, flows, type Flow } from '../api/deployments'
import { flowRuns } from '../api/runs'
import { buttonClass } from '../components/button'
import { Empty, Loaded } from '../components/feedback'
import { Input } from '../components/field'
import { Card, Page, Tags } from '../components/page'
import { RunStrip } from '../components/run-strip'
import { rowLink, Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { duration } from '../core/time'

export const begun = ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED']

const lastOf = (id: string) => ({ ...flowRuns({ flows: { id: { any_: [id] } }, flow_runs: { state: { type: { any_: begun } } } }, { limit: 20 }), staleTime: 5_000 })

function Last({ id, show }: { id: string; show: 'strip' | 'when' | 'average' }) {
  const { data } = useQuery(lastOf(id))
  if (!data) return <span className="skeleton inline-block h-4 w-16" />
  if (show === 'strip') return <RunStrip runs={data} />
  if (show === 'when') return data[0] ? <Ago at={data[0].startTime ?? data[0].expectedStartTime} /> : <span className="text-muted">never</span>
  const ended = data.filter((r) => r.stateType === 'COMPLETED')
  return <>{ended.length === 0 ? '–' : duration(ended.reduce((n, r) => n + r.totalRunTime, 0) / ended.length)}</>
}

export function Flows() {
  const { q = '' } = useSearch({ from: '/shell/flows' })
  const navigate = useNavigate()
  const query = useQuery(flows())
  const all = useQuery(deployments())
  const columns: Column<Flow>[] = [
    { header: 'Flow', cell: (f) => <div className="min-w-32"><Link to="/flows/$id" params={{ id: f.id }} className={rowLink}>{f.name}</Link> <span className="ml-1.5"><Tags tags={f.tags} /></span></div> },
    { header: 'Deployments', from: 'sm', right: true, cell: (f) => all.data?.filter((d) => d.flowId === f.id).length ?? '…' },
    { header: 'Last runs', from: 'md', cell: (f) => <Last id={f.id} show="strip" /> },
    { header: 'Usually takes', from: 'lg', right: true, cell: (f) => <Last id={f.id} show="average" /> },
    { header: 'Last run', right: true, cell: (f) => <Last id={f.id} show="when" /> },
  ]
  return (
    <Page title="Flows" wide>
      <Card flush aside={<><Input data-search type="search" aria-label="Find flows" placeholder="Find by name or tag" value={q} onChange={(e) => void navigate({ to: '/flows', search: { q: e.target.value || undefined }, replace: true })} className="max-w-80" /><span className="text-[13px] text-muted">{query.data ? `${query.data.length} ${query.data.length === 1 ? 'flow' : 'flows'}` : ''}</span></>}>
        <Loaded query={query}>
          {(list) => {
            const shown = list.filter((f) => f.name.toLowerCase().includes(q.toLowerCase()) || f.tags.some((t) => t.toLowerCase().includes(q.toLowerCase()))).sort((a, b) => a.name.localeCompare(b.name))
            if (list.length === 0) return <Empty title="No flows yet" command="python3 leo_flow.py">A flow is a function marked with <code>@flow</code>. Run its script, and it appears here.</Empty>
            if (shown.length === 0) return <Empty title={`Nothing matches “${q}”`} action={<Link to="/flows" className={buttonClass()}>Show all</Link>} />
            return <Table label="Flows" columns={columns} rows={shown} id={(f) => f.id} />
          }}
        </Loaded>
      </Card>
    </Page>
  )
}
