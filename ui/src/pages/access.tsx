import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useSearch } from '@tanstack/react-router'
import { Plus, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { audit, createToken, revokeToken, tokens, whoAmI, type AuditRecord, type Token } from '../api/system'
import { Button, IconButton } from '../components/button'
import { CopyButton } from '../components/copy'
import { Confirm, Dialog } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Field, Input, Select } from '../components/field'
import { Card, Page } from '../components/page'
import { Table, type Column } from '../components/table'
import { TabLinks } from '../components/tabs'
import { Ago, At } from '../components/time'

const roles: [string, string][] = [['viewer', 'reads everything but secrets'], ['agent', 'executes runs'], ['operator', 'runs, cancels, edits queues and limits'], ['deployer', 'creates deployments and blocks'], ['admin', 'everything']]

function TokenForm({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState('operator')
  const [days, setDays] = useState('')
  const [made, setMade] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(null)
  if (made) {
    return (
      <Dialog title="The token" onClose={onDone}>
        <div className="flex flex-col gap-4">
          <p>This is the only time it is shown.</p>
          <div className="flex items-center gap-1 rounded-md border border-line bg-sunken py-1 pr-1 pl-3"><code className="min-w-0 flex-1 break-all select-all">{made}</code><CopyButton text={made} label="Copy the token" /></div>
          <div className="flex justify-end"><Button kind="primary" onClick={onDone}>I have it</Button></div>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title="Create a token" onClose={onClose}>
      <form className="flex flex-col gap-4" onSubmit={(e) => {
        e.preventDefault()
        createToken({ name: name.trim(), role, expires: Number(days) > 0 ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null }).then((t) => setMade(t.token), setError)
      }}>
        <Field label="Name" required hint="Of the person or program that has it; the audit trail shows it.">{(a) => <Input {...a} data-autofocus value={name} onChange={(e) => setName(e.target.value)} />}</Field>
        <Field label="Role">{(a) => <Select {...a} value={role} onChange={(e) => setRole(e.target.value)}>{roles.map(([r, about]) => <option key={r} value={r}>{r}: {about}</option>)}</Select>}</Field>
        <Field label="Days until it ends" hint="Nothing is for ever.">{(a) => <Input {...a} type="number" min="1" value={days} onChange={(e) => setDays(e.target.value)} />}</Field>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit" disabled={!name.trim()}>Create</Button></div>
      </form>
    </Dialog>
  )
}

function Tokens() {
  const query = useQuery(tokens(true))
  const cache = useQueryClient()
  const [creating, setCreating] = useState(false)
  const [doomed, setDoomed] = useState<Token | null>(null)
  const [error, setError] = useState<unknown>(null)
  const changed = () => void cache.invalidateQueries({ queryKey: ['tokens'] })
  const columns: Column<Token>[] = [
    { header: 'Name', cell: (t) => <div><span className="font-medium">{t.name}</span>{t.note && <div className="text-[13px] text-muted">{t.note}</div>}</div> },
    { header: 'Role', cell: (t) => t.role },
    { header: 'Status', cell: (t) => <span className={`${t.status === 'active' ? 'tone-completed' : 'tone-cancelled'} rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)`}>{t.status}</span> },
    { header: 'Created', from: 'md', cell: (t) => <><Ago at={t.created} /> <span className="text-muted">by {t.createdBy}</span></> },
    { header: 'Last used', from: 'sm', right: true, cell: (t) => <Ago at={t.lastUsed} /> },
    { header: 'Ends', from: 'lg', right: true, cell: (t) => (t.expires ? <Ago at={t.expires} /> : 'never') },
    { header: 'Actions', silent: true, right: true, cell: (t) => t.status === 'active' && <IconButton label={`Revoke ${t.name}`} onClick={() => setDoomed(t)}><Trash2 size={15} aria-hidden /></IconButton> },
  ]
  return (
    <>
      <div className="flex justify-end px-4 py-2.5"><Button small kind="primary" onClick={() => setCreating(true)}><Plus size={14} aria-hidden /> Create a token</Button></div>
      <Loaded query={query}>{(all) => (all.length === 0 ? <Empty title="No tokens" command="sluice token create ci --role deployer">This server asks for none. On an address that others reach it does, unless told otherwise.</Empty> : <Table label="Tokens" columns={columns} rows={all} id={(t) => t.id} />)}</Loaded>
      {creating && <TokenForm onClose={() => setCreating(false)} onDone={() => { setCreating(false); changed() }} />}
      {doomed && <Confirm title={`Revoke ${doomed.name}?`} action="Revoke the token" onClose={() => { setDoomed(null); setError(null) }} error={error ? <Failure error={error} /> : null} onConfirm={() => void revokeToken(doomed.id).then(() => { setDoomed(null); changed() }, setError)}><p>Whoever has it is turned away from now on. This cannot be taken back.</p></Confirm>}
    </>
  )
}

function Audit() {
  const [actor, setActor] = useState('')
  const [before, setBefore] = useState<string[]>([])
  const query = useQuery(audit({ actor: actor || undefined, before: before.at(-1) }))
  const columns: Column<AuditRecord>[] = [
    { header: 'When', cell: (r) => <At at={r.time} /> },
    { header: 'Who', cell: (r) => <>{r.actor} <span className="text-muted">{r.role}</span></> },
    { header: 'What', cell: (r) => <div className="min-w-40"><code>{r.action}</code>{r.object && <div className="text-[13px] text-muted">{r.object}</div>}</div> },
    { header: 'Outcome', from: 'sm', cell: (r) => <span className={r.outcome === 'ok' ? 'text-muted' : 'font-medium text-danger'}>{r.outcome}</span> },
    { header: 'From', from: 'md', cell: (r) => r.address },
    { header: 'Request', from: 'lg', cell: (r) => <code className="text-muted">{r.requestId}</code> },
  ]
  return (
    <>
      <div className="border-b border-line px-4 py-2.5"><Input type="search" data-search aria-label="Who" placeholder="Only of this person or program" className="max-w-80" value={actor} onChange={(e) => { setActor(e.target.value); setBefore([]) }} /></div>
      <Loaded query={query} rows={8}>
        {(page) => (
          <>
            {page.records.length === 0 ? <Empty title="Nothing was written">Every change that a person or a program makes leaves a record here.</Empty> : <Table label="Audit trail" columns={columns} rows={page.records} id={(r) => r.id} />}
            <nav aria-label="Pages" className="flex justify-end gap-2 border-t border-line px-4 py-2">
              <Button small disabled={before.length === 0} onClick={() => setBefore(before.slice(0, -1))}>Newer</Button>
              <Button small disabled={!page.next} onClick={() => setBefore([...before, page.next!])}>Older</Button>
            </nav>
          </>
        )}
      </Loaded>
    </>
  )
}

export function Access() {
  const { tab = 'tokens' } = useSearch({ from: '/shell/access' })
  const who = useQuery(whoAmI())
  return (
    <Page title="Tokens and audit">
      <Card flush title={<TabLinks label="Access" tabs={[{ label: 'Tokens', to: { to: '/access' }, active: tab === 'tokens' }, { label: 'Audit', to: { to: '/access', search: { tab: 'audit' } }, active: tab === 'audit' }]} />}
        aside={who.data && <span className="text-[13px] text-muted">{who.data.authentication ? `You are ${who.data.name}, ${who.data.role}.` : 'This server asks nobody for a token.'}</span>}>
        {who.data && who.data.role !== 'admin' ? <Empty title="Only an admin sees this">You are signed in as {who.data.name}, {who.data.role}.</Empty> : tab === 'audit' ? <Audit /> : <Tokens />}
      </Card>
    </Page>
  )
}
