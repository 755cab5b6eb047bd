import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { Pause, Pencil, Play, Plus, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { agents, deleteQueue, updateQueue, workQueues, type WorkQueue } from '../api/queues'
import { Button, buttonClass } from '../components/button'
import { Confirm } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Input } from '../components/field'
import { Menu } from '../components/menu'
import { useNames } from '../components/names'
import { Card, Page } from '../components/page'
import { QueueForm } from '../components/queue-form'
import { rowLink, Table, type Column } from '../components/table'
import { tell, tellFailure } from '../components/toasts'

export function PausedBadge({ paused }: { paused: boolean }) {
  return (
    <span className={`${paused ? 'tone-late' : 'tone-completed'} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)`}>
      {paused ? <Pause size={13} aria-hidden /> : <Play size={13} aria-hidden />}
      {paused ? 'Paused' : 'Active'}
    </span>
  )
}

export function QueueCriteria({ queue }: { queue: WorkQueue }) {
  const { deploymentName } = useNames()
  const { tags, deploymentIds, flowRunnerTypes } = queue.filter
  const parts = [
    tags?.length ? `tags ${tags.join(' and ')}` : '',
    deploymentIds?.length ? `of ${deploymentIds.map((id) => deploymentName(id) ?? id.slice(0, 8)).join(' or ')}` : '',
    flowRunnerTypes?.length ? `runner ${flowRunnerTypes.join(' or ')}` : '',
  ].filter(Boolean)
  return <>{parts.length > 0 ? parts.join(', ') : 'every deployment'}</>
}

export function useQueueActions(onDone: () => void) {
  const [editing, setEditing] = useState<WorkQueue | null>(null)
  const [doomed, setDoomed] = useState<WorkQueue | null>(null)
  const [error, setError] = useState<unknown>(null)
  const cache = useQueryClient()
  const changed = () => void cache.invalidateQueries({ predicate: (q) => String(q.queryKey[0]).startsWith('work-queue') })
  const pause = (q: WorkQueue) =>
    updateQueue(q.id, { is_paused: !q.isPaused }).then(() => {
      changed()
      tell(q.isPaused ? `${q.name} gives out runs again.` : `Paused ${q.name}: its agents get no new runs.`)
    }, tellFailure)
  const dialogs = (
    <>
      {editing && <QueueForm queue={editing} onClose={() => setEditing(null)} onDone={() => { setEditing(null); changed() }} />}
      {doomed && (
        <Confirm
          title={`Delete ${doomed.name}?`} action="Delete the work queue" onClose={() => { setDoomed(null); setError(null) }}
          error={error ? <Failure error={error} /> : null}
          onConfirm={() => void deleteQueue(doomed.id).then(() => { tell(`Deleted the work queue ${doomed.name}.`); setDoomed(null); changed(); onDone() }, setError)}
        >
          <p>Agents that serve only this queue stop. Runs that were given out go on; runs that wait for it stay and wait for another queue that matches.</p>
        </Confirm>
      )}
    </>
  )
  return { edit: setEditing, remove: setDoomed, pause, dialogs }
}

export function Queues() {
  const { q = '', new: creating } = useSearch({ from: '/shell/queues' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(workQueues())
  const polling = useQuery(agents())
  const actions = useQueueActions(() => {})
  const columns: Column<WorkQueue>[] = [
    {
      header: 'Work queue',
      cell: (w) => (
        <div className="min-w-32">
          <Link to="/queues/$id" params={{ id: w.id }} className={rowLink}>{w.name}</Link>
          {w.description && <div className="text-[13px] text-muted">{w.description}</div>}
        </div>
      ),
    },
    { header: 'State', cell: (w) => <PausedBadge paused={w.isPaused} /> },
    { header: 'Serves', from: 'md', cell: (w) => <QueueCriteria queue={w} /> },
    { header: 'In use', from: 'sm', right: true, cell: (w) => <>{w.slotsInUse ?? 0}{w.concurrencyLimit !== null && w.concurrencyLimit !== undefined ? ` of ${w.concurrencyLimit}` : ''}</> },
    {
      header: 'Agents', from: 'sm', right: true,
      cell: (w) => {
        const n = polling.data?.filter((a) => a.live && a.workQueueIds.includes(w.id)).length
        return n === 0 ? <span className="tone-late rounded bg-(--tone-soft) px-1.5 font-medium text-(--tone)">none</span> : (n ?? '…')
      },
    },
    {
      header: 'Actions', silent: true, right: true,
      cell: (w) => (
        <Menu
          label={`More for ${w.name}`}
          items={[
            { label: w.isPaused ? 'Resume' : 'Pause', needs: 'operator', icon: w.isPaused ? <Play size={15} aria-hidden /> : <Pause size={15} aria-hidden />, onSelect: () => void actions.pause(w) },
            { label: 'Edit…', needs: 'operator', icon: <Pencil size={15} aria-hidden />, onSelect: () => actions.edit(w) },
            { label: 'Delete…', needs: 'operator', danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => actions.remove(w) },
          ]}
        />
      ),
    },
  ]
  const close = () => void navigate({ to: '/queues', search: { q: q || undefined } })
  return (
    <Page
      title="Work queues"
      actions={<Button needs="operator" kind="primary" onClick={() => void navigate({ to: '/queues', search: { new: true } })}><Plus size={15} aria-hidden /> Create a work queue</Button>}
    >
      <Card flush aside={<Input data-search type="search" aria-label="Find work queues" placeholder="Find by name" value={q} onChange={(e) => void navigate({ to: '/queues', search: { q: e.target.value || undefined }, replace: true })} className="max-w-80" />}>
        <Loaded query={query}>
          {(all) => {
            const shown = all.filter((w) => w.name.toLowerCase().includes(q.toLowerCase())).sort((a, b) => a.name.localeCompare(b.name))
            if (all.length === 0) return <Empty title="No work queues yet" command="sluice work-queue create --tag tutorial tutorial_queue">Agents take runs from work queues. A queue says which runs it gives out, by tags, deployments or flow runners.</Empty>
            if (shown.length === 0) return <Empty title={`Nothing matches “${q}”`} action={<Link to="/queues" className={buttonClass()}>Show all</Link>} />
            return <Table label="Work queues" columns={columns} rows={shown} id={(w) => w.id} />
          }}
        </Loaded>
      </Card>
      {creating && <QueueForm onClose={close} onDone={(id) => { void cache.invalidateQueries({ queryKey: ['work-queues'] }); void navigate({ to: '/queues/$id', params: { id } }) }} />}
      {actions.dialogs}
    </Page>
  )
}
