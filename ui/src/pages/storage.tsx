import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { Plus, Star, StarOff, Trash2 } from 'lucide-react'
import { useMemo, useState } from 'react'
import { blocks, blockSpecs, clearDefaultStorage, createBlock, defaultStorage, deleteBlock, setDefaultStorage, type Block } from '../api/system'
import { Button } from '../components/button'
import { Confirm, Dialog } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Field, Input, Select } from '../components/field'
import { Menu } from '../components/menu'
import { Card, Page } from '../components/page'
import { SchemaForm } from '../components/schema-form'
import { Table, type Column } from '../components/table'
import { tell, tellFailure } from '../components/toasts'
import { check, fields, type Schema } from '../core/schema-form'

function StorageForm({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const specs = useQuery(blockSpecs())
  const [spec, setSpec] = useState('')
  const [name, setName] = useState('')
  const [value, setValue] = useState<Record<string, unknown>>({})
  const [error, setError] = useState<unknown>(null)
  const [tried, setTried] = useState(false)
  const kinds = (specs.data ?? []).filter((s) => s.type === 'STORAGE')
  const chosen = kinds.find((s) => s.id === spec) ?? kinds[0]
  const list = useMemo(() => (chosen ? fields(chosen.fields as Schema) : []), [chosen])
  const found = check(list, value)
  const save = () => {
    setTried(true)
    if (!chosen || !name.trim() || found.size > 0) return
    createBlock({ name: name.trim(), block_spec_id: chosen.id, data: value }).then(() => { tell(`Created the storage ${name.trim()}.`); onDone() }, setError)
  }
  return (
    <Dialog title="Create a storage" onClose={onClose} wide>
      <form className="flex flex-col gap-4" noValidate onSubmit={(e) => { e.preventDefault(); save() }}>
        <Field label="Kind">{(a) => <Select {...a} data-autofocus value={chosen?.id ?? ''} onChange={(e) => { setSpec(e.target.value); setValue({}) }}>{kinds.map((s) => <option key={s.id} value={s.id}>{s.name}</option>)}</Select>}</Field>
        {typeof (chosen?.fields as Schema | undefined)?.description === 'string' && <p className="text-muted">{(chosen!.fields as Schema).description}</p>}
        <Field label="Name" required error={tried && !name.trim() ? 'A storage needs a name.' : null}>{(a) => <Input {...a} value={name} onChange={(e) => setName(e.target.value)} />}</Field>
        {chosen && <SchemaForm key={chosen.id} fields={list} root={chosen.fields as Schema} value={value} problems={tried ? found : new Map()} onChange={setValue} />}
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit" disabled={!chosen}>Create</Button></div>
      </form>
    </Dialog>
  )
}

export function Storage() {
  const { new: creating } = useSearch({ from: '/shell/storage' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(blocks())
  const standard = useQuery(defaultStorage())
  const [doomed, setDoomed] = useState<Block | null>(null)
  const [error, setError] = useState<unknown>(null)
  const changed = () => { void cache.invalidateQueries({ queryKey: ['blocks'] }); void cache.invalidateQueries({ queryKey: ['default-storage'] }) }
  const isDefault = (b: Block) => standard.data?.id === b.id
  const columns: Column<Block>[] = [
    { header: 'Name', cell: (b) => <span className="flex items-center gap-2 font-medium">{b.name}{isDefault(b) && <span className="tone-completed inline-flex items-center gap-1 rounded-full bg-(--tone-soft) px-2 text-[13px] text-(--tone)"><Star size={12} aria-hidden /> default</span>}</span> },
    { header: 'Kind', cell: (b) => <>{b.blockSpec?.name} <span className="text-muted">{b.blockSpec?.version}</span></> },
    { header: 'Values', from: 'md', cell: (b) => <span className="text-[13px] text-muted">{Object.entries(b.data as Record<string, unknown>).filter(([, v]) => v !== null && v !== '').map(([k, v]) => `${k}: ${typeof v === 'object' ? '…' : String(v)}`).join(', ').slice(0, 120) || '–'}</span> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (b) => <Menu label={`More for ${b.name}`} items={[
        isDefault(b) ? { label: 'No default', needs: 'admin' as const, icon: <StarOff size={15} aria-hidden />, onSelect: () => void clearDefaultStorage().then(changed, tellFailure) } : b.blockSpec?.type === 'STORAGE' && { label: 'Make it the default', needs: 'admin' as const, icon: <Star size={15} aria-hidden />, onSelect: () => void setDefaultStorage(b.id).then(changed, tellFailure) },
        { label: 'Delete…', needs: 'deployer' as const, danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => setDoomed(b) },
      ]} />,
    },
  ]
  const close = () => void navigate({ to: '/storage', search: {} })
  return (
    <Page title="Storage" actions={<Button needs="deployer" kind="primary" onClick={() => void navigate({ to: '/storage', search: { new: true } })}><Plus size={15} aria-hidden /> Create a storage</Button>}>
      <div className="flex flex-col gap-4">
        {standard.data === null && <p className="rounded-lg border border-line bg-surface px-4 py-2.5">No storage is the default, so flows and results are kept in the cluster's own replicated store. Nothing needs to be configured; large results are better kept in a storage.</p>}
        <Card flush>
          <Loaded query={query}>
            {(all) => all.length === 0 ? <Empty title="No storages" command="sluice storage create">Azure, Google Cloud, S3, files on a shared disk, a KV server: where flows' code and results are kept.</Empty> : <Table label="Storages" columns={columns} rows={all} id={(b) => b.id} />}
          </Loaded>
        </Card>
      </div>
      {creating && <StorageForm onClose={close} onDone={() => { close(); changed() }} />}
      {doomed && <Confirm title={`Delete ${doomed.name}?`} action="Delete the storage" onClose={() => { setDoomed(null); setError(null) }} error={error ? <Failure error={error} /> : null} onConfirm={() => void deleteBlock(doomed.id).then(() => { setDoomed(null); changed() }, setError)}><p>Deployments and results that name it can no longer be read through it. What lies in the storage itself stays.</p></Confirm>}
    </Page>
  )
}
