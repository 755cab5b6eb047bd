import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Trash2, Zap } from 'lucide-react'
import { useMemo, useState } from 'react'
import { deleteFlow, deployments, flow, type Deployment } from '../api/deployments'
import { flowRunCount, flowRuns, history } from '../api/runs'
import { Button } from '../components/button'
import { Id } from '../components/copy'
import { Confirm } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { HistoryChart } from '../components/history-chart'
import { Card, Facts, Page, Tags } from '../components/page'
import { RunTable } from '../components/run-table'
import { Table } from '../components/table'
import { TabLinks } from '../components/tabs'
import { At } from '../components/time'
import { tell } from '../components/toasts'
import { intervals } from '../core/history'
import { DeleteDeployment, quickRun, useDeploymentColumns } from './deployments'
import { begun } from './flows'

export function FlowPage() {
  const { id } = useParams({ from: '/shell/flows/$id' })
  const { tab = 'runs' } = useSearch({ from: '/shell/flows/$id' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(flow(id))
  const of = { flows: { id: { any_: [id] } } }
  const own = useQuery(deployments(id))
  const runs = useQuery(flowRuns({ ...of, flow_runs: { state: { type: { any_: begun } } } }, { limit: 50 }))
  const count = useQuery(flowRunCount(of))
  const hour = Math.floor(Date.now() / 3_600_000)
  const range = useMemo(() => {
    const c = intervals({ start: (hour - 24 * 7) * 3_600_000, end: (hour + 6) * 3_600_000 })
    return { start: new Date(c.start).toISOString(), end: new Date(c.end).toISOString(), seconds: c.seconds }
  }, [hour])
  const chart = useQuery(history(of, range))
  const [doomed, setDoomed] = useState<Deployment | null>(null)
  const [deleting, setDeleting] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const columns = useDeploymentColumns(setDoomed, false)
  const at = (tab?: string) => ({ to: '/flows/$id' as const, params: { id }, search: tab ? { tab } : {} })
  return (
    <Page
      wide title={query.data?.name ?? 'Flow'} crumbs={[{ label: 'Flows', link: { to: '/flows' } }]}
      actions={<>{own.data?.length === 1 && <Button needs="operator" data-key="r" onClick={() => void quickRun(own.data![0]!)}><Zap size={15} aria-hidden /> Quick Run</Button>}<Button needs="admin" kind="danger" onClick={() => setDeleting(true)}><Trash2 size={15} aria-hidden /> Delete</Button></>}
    >
      <Loaded query={query}>
        {(f) => (
          <div className="flex flex-col gap-4">
            <Card><Facts items={[['Deployments', own.data?.length ?? '…'], ['Runs', count.data?.toLocaleString('en') ?? '…'], ['Created', <At at={f.created} />], f.tags.length > 0 && ['Tags', <Tags tags={f.tags} />], ['Id', <Id id={f.id} />]]} /></Card>
            <Card title="The last seven days">{chart.data ? <HistoryChart history={chart.data} height={120} /> : <span className="skeleton block h-36" />}</Card>
            <Card flush title={<TabLinks label="About the flow" tabs={[{ label: 'Runs', to: at(), active: tab === 'runs' }, { label: 'Deployments', to: at('deployments'), active: tab === 'deployments', count: own.data?.length }]} />}>
              {tab === 'deployments'
                ? <Loaded query={own}>{(all) => (all.length === 0 ? <Empty title="No deployments of this flow" command="sluice deployment create leo_deployment.py" /> : <Table label="Deployments" columns={columns} rows={all} id={(d) => d.id} />)}</Loaded>
                : <Loaded query={runs}>{(all) => (all.length === 0 ? <Empty title="This flow has not run yet" /> : <RunTable runs={all} without={['flow']} />)}</Loaded>}
            </Card>
          </div>
        )}
      </Loaded>
      {doomed && <DeleteDeployment d={doomed} onClose={() => setDoomed(null)} onDone={() => { setDoomed(null); void cache.invalidateQueries({ queryKey: ['deployments'] }) }} />}
      {deleting && (
        <Confirm title={`Delete ${query.data?.name}?`} action="Delete the flow and all of its runs" onClose={() => setDeleting(false)} error={error ? <Failure error={error} /> : null}
          onConfirm={() => void deleteFlow(id).then(() => { tell('Deleted the flow.'); void cache.invalidateQueries({ queryKey: ['flows'] }); void navigate({ to: '/flows' }) }, setError)}>
          <p>It goes with {own.data?.length ?? 0} deployments and {count.data?.toLocaleString('en') ?? 'all'} runs.</p>
        </Confirm>
      )}
    </Page>
  )
}
