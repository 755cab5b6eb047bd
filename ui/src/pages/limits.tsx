import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { Pencil, Plus, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { find } from '../api/fetch'
import { deleteLimit, limits, putLimit, type ConcurrencyLimit } from '../api/system'
import { Button } from '../components/button'
import { Confirm, Dialog } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Field, Input } from '../components/field'
import { Menu } from '../components/menu'
import { Card, Page } from '../components/page'
import { Release } from '../components/release'
import { Table, type Column } from '../components/table'
import { tell } from '../components/toasts'

function Holders({ ids }: { ids: string[] }) {
  const { data } = useQuery({
    queryKey: ['holders', ids], enabled: ids.length > 0, placeholderData: keepPreviousData,
    queryFn: ({ signal }) => find<{ id: string; name: string; flow_run_id: string }[]>('/task_runs/filter', { task_runs: { id: { any_: ids.slice(0, 50) } } }, { signal }),
  })
  if (ids.length === 0) return <span className="text-muted">nobody</span>
  return (
    <span className="flex flex-wrap items-center gap-x-3">
      {(data ?? []).slice(0, 8).map((t) => <span key={t.id} className="inline-flex items-center"><Link to="/runs/$id/tasks/$taskId" params={{ id: t.flowRunId, taskId: t.id }} className="text-accent hover:underline">{t.name}</Link><Release kind="task run" id={t.id} name={t.name} /></span>)}
      {ids.length > 8 && <span className="text-muted">and {ids.length - 8} more</span>}
    </span>
  )
}

function LimitForm({ limit, onClose, onDone }: { limit?: ConcurrencyLimit; onClose: () => void; onDone: () => void }) {
  const [tag, setTag] = useState(limit?.tag ?? '')
  const [n, setN] = useState(limit ? String(limit.concurrencyLimit) : '1')
  const [error, setError] = useState<unknown>(null)
  const wrong = /^\d+$/.test(n) ? null : 'A whole number, 0 or more.'
  return (
    <Dialog title={limit ? `Limit of ${limit.tag}` : 'Limit the task runs of a tag'} onClose={onClose}>
      <form className="flex flex-col gap-4" noValidate onSubmit={(e) => { e.preventDefault(); if (!wrong && tag.trim()) putLimit(tag.trim(), Number(n)).then(() => { tell(`At most ${n} task runs with the tag ${tag} run at once.`); onDone() }, setError) }}>
        <Field label="Tag" required>{(a) => <Input {...a} data-autofocus disabled={!!limit} value={tag} onChange={(e) => setTag(e.target.value)} />}</Field>
        <Field label="At once" error={wrong} hint="0 lets none run.">{(a) => <Input {...a} inputMode="numeric" value={n} onChange={(e) => setN(e.target.value)} />}</Field>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit" disabled={!tag.trim() || !!wrong}>Save</Button></div>
      </form>
    </Dialog>
  )
}

export function Limits() {
  const { new: creating } = useSearch({ from: '/shell/limits' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(limits())
  const [editing, setEditing] = useState<ConcurrencyLimit | null>(null)
  const [doomed, setDoomed] = useState<ConcurrencyLimit | null>(null)
  const [error, setError] = useState<unknown>(null)
  const changed = () => void cache.invalidateQueries({ queryKey: ['limits'] })
  const columns: Column<ConcurrencyLimit>[] = [
    { header: 'Tag', cell: (l) => <span className="font-medium">{l.tag}</span> },
    {
      header: 'In use',
      cell: (l) => (
        <span className="flex items-center gap-3 tabular">
          <span className="h-2 w-28 overflow-hidden rounded-full bg-sunken" aria-hidden><span className={`${l.activeSlots.length >= l.concurrencyLimit ? 'tone-late' : 'tone-running'} block h-full bg-(--tone-fill)`} style={{ width: `${l.concurrencyLimit === 0 ? 100 : Math.min(100, (l.activeSlots.length / l.concurrencyLimit) * 100)}%` }} /></span>
          {l.activeSlots.length} of {l.concurrencyLimit}
        </span>
      ),
    },
    { header: 'Held by', from: 'sm', cell: (l) => <Holders ids={l.activeSlots} /> },
    { header: 'Actions', silent: true, right: true, cell: (l) => <Menu label={`More for ${l.tag}`} items={[{ label: 'Edit…', needs: 'operator', icon: <Pencil size={15} aria-hidden />, onSelect: () => setEditing(l) }, { label: 'Delete…', needs: 'operator', danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => setDoomed(l) }]} /> },
  ]
  const close = () => { setEditing(null); if (creating) void navigate({ to: '/limits', search: {} }) }
  return (
    <Page title="Concurrency limits" actions={<Button needs="operator" kind="primary" onClick={() => void navigate({ to: '/limits', search: { new: true } })}><Plus size={15} aria-hidden /> Limit a tag</Button>}>
      <Card flush>
        <Loaded query={query}>
          {(all) => all.length === 0
            ? <Empty title="No limits" command="sluice concurrency-limit create database 10">A limit says how many task runs with a tag run at once, over all flows. Places are derived from the runs themselves: none is held by what does not run.</Empty>
            : <Table label="Concurrency limits" columns={columns} rows={[...all].sort((a, b) => a.tag.localeCompare(b.tag))} id={(l) => l.id} />}
        </Loaded>
      </Card>
      {(creating || editing) && <LimitForm limit={editing ?? undefined} onClose={close} onDone={() => { close(); changed() }} />}
      {doomed && <Confirm title={`Delete the limit of ${doomed.tag}?`} action="Delete the limit" onClose={() => { setDoomed(null); setError(null) }} error={error ? <Failure error={error} /> : null} onConfirm={() => void deleteLimit(doomed.id).then(() => { setDoomed(null); changed() }, setError)}><p>Task runs with that tag then start without waiting.</p></Confirm>}
    </Page>
  )
}
