import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { Pause, Pencil, Play, Plus, Send, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { createWebhook, deleteWebhook, testWebhook, updateWebhook, webhooks, type Webhook } from '../api/webhooks'
import { Button } from '../components/button'
import { CopyButton } from '../components/copy'
import { Confirm, Dialog } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Field, Input } from '../components/field'
import { Menu } from '../components/menu'
import { Card, Page } from '../components/page'
import { ToneIcon } from '../components/state-badge'
import { rowLink, Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import { lookOf, stateTypes, type StateType, type Tone } from '../core/states'

export function condition(w: Webhook): [Tone, string] {
  if (w.paused) return ['late', w.pausedReason ? `paused: ${w.pausedReason}` : 'paused']
  if (w.lastError) return ['failed', w.waiting > 0 ? `failing, ${w.waiting} wait` : 'last message failed']
  if (w.waiting > 0) return ['running', `${w.waiting} on their way`]
  return ['completed', w.delivered > 0 ? 'delivers' : 'nothing sent yet']
}

export function Condition({ w }: { w: Webhook }) {
  const [tone, words] = condition(w)
  return <span className={`tone-${tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)`}><ToneIcon tone={tone} size={13} /> {words}</span>
}

export function criteriaWords(w: Webhook): string {
  const f = w.filter
  const parts = [
    f.stateTypes?.length ? f.stateTypes.map((t) => lookOf(t).label.toLowerCase()).join(' or ') : '',
    f.stateNames?.length ? `named ${f.stateNames.join(' or ')}` : '',
    f.tags?.length ? `tagged ${f.tags.join(' and ')}` : '',
    f.deploymentIds?.length ? `of ${f.deploymentIds.length} ${f.deploymentIds.length === 1 ? 'deployment' : 'deployments'}` : '',
    f.flowIds?.length ? `of ${f.flowIds.length} ${f.flowIds.length === 1 ? 'flow' : 'flows'}` : '',
  ].filter(Boolean)
  return parts.length > 0 ? `runs ${parts.join(', ')}` : 'every state of every run'
}

const split = (text: string) => text.split(/[,\s]+/).filter(Boolean)

/** WebhookForm creates or changes a webhook. What it has no field for stays as it is. */
export function WebhookForm({ of, onClose, onDone }: { of?: Webhook; onClose: () => void; onDone: (w: Webhook) => void }) {
  const [name, setName] = useState(of?.name ?? '')
  const [url, setUrl] = useState(of?.url ?? '')
  const [types, setTypes] = useState<StateType[]>((of?.filter.stateTypes as StateType[] | null | undefined) ?? (of ? [] : ['FAILED']))
  const [tags, setTags] = useState(of?.filter.tags?.join(', ') ?? '')
  const [made, setMade] = useState<Webhook | null>(null)
  const [error, setError] = useState<unknown>(null)
  if (made) {
    return (
      <Dialog title="The secret" onClose={() => onDone(made)}>
        <div className="flex flex-col gap-4">
          <p>Every message is signed with it, so that the receiver knows it is yours. This is the only time it is shown.</p>
          <div className="flex items-center gap-1 rounded-md border border-line bg-sunken py-1 pr-1 pl-3"><code className="min-w-0 flex-1 break-all select-all">{made.secret}</code><CopyButton text={made.secret ?? ''} label="Copy the secret" /></div>
          <div className="flex justify-end"><Button kind="primary" onClick={() => onDone(made)}>I have it</Button></div>
        </div>
      </Dialog>
    )
  }
  const save = () => {
    const f = of?.filter
    const filter = { state_types: types.length ? types : null, tags: split(tags).length ? split(tags) : null, state_names: f?.stateNames ?? null, deployment_ids: f?.deploymentIds ?? null, flow_ids: f?.flowIds ?? null }
    if (of) updateWebhook(of.id, { name: name.trim(), url: url.trim(), filter }).then((w) => { tell(`Changed ${w.name}.`); onDone(w) }, setError)
    else createWebhook({ name: name.trim(), url: url.trim(), filter }).then((w) => (w.secret ? setMade(w) : onDone(w)), setError)
  }
  return (
    <Dialog title={of ? `Edit ${of.name}` : 'Create a webhook'} onClose={onClose} wide>
      <form className="flex flex-col gap-4" noValidate onSubmit={(e) => { e.preventDefault(); save() }}>
        <div className="grid gap-4 sm:grid-cols-[1fr_2fr]">
          <Field label="Name" required>{(a) => <Input {...a} data-autofocus value={name} onChange={(e) => setName(e.target.value)} placeholder="on-call" />}</Field>
          <Field label="Address" required hint="It is sent a signed POST with JSON.">{(a) => <Input {...a} type="url" value={url} onChange={(e) => setUrl(e.target.value)} placeholder="https://example.org/hook" />}</Field>
        </div>
        <fieldset>
          <legend className="font-medium">When a run is</legend>
          <p className="text-[13px] text-muted">None is any.</p>
          <div className="mt-1.5 flex flex-wrap gap-x-5 gap-y-1">
            {stateTypes.map((t) => <label key={t} className="flex items-center gap-2"><input type="checkbox" checked={types.includes(t)} onChange={(e) => setTypes(e.target.checked ? [...types, t] : types.filter((x) => x !== t))} /> {lookOf(t).label}</label>)}
          </div>
        </fieldset>
        <Field label="Tags" hint="Only runs that have all of these, separated by commas.">{(a) => <Input {...a} value={tags} onChange={(e) => setTags(e.target.value)} />}</Field>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit" disabled={!name.trim() || !url.trim()}>{of ? 'Save' : 'Create'}</Button></div>
      </form>
    </Dialog>
  )
}

export function useWebhookActions(onDeleted: () => void) {
  const cache = useQueryClient()
  const [editing, setEditing] = useState<Webhook | null>(null)
  const [doomed, setDoomed] = useState<Webhook | null>(null)
  const [error, setError] = useState<unknown>(null)
  const changed = () => void cache.invalidateQueries({ predicate: (q) => ['webhooks', 'webhook', 'deliveries'].includes(String(q.queryKey[0])) })
  return {
    changed, edit: setEditing, remove: setDoomed,
    pause: (w: Webhook) => void updateWebhook(w.id, { paused: !w.paused }).then(changed, tellFailure),
    test: (w: Webhook) => void testWebhook(w.id).then(() => { tell(`Sent a test message to ${w.name}.`); changed() }, tellFailure),
    dialogs: (
      <>
        {editing && <WebhookForm of={editing} onClose={() => setEditing(null)} onDone={() => { setEditing(null); changed() }} />}
        {doomed && (
          <Confirm title={`Delete ${doomed.name}?`} action="Delete the webhook" onClose={() => { setDoomed(null); setError(null) }} error={error ? <Failure error={error} /> : null}
            onConfirm={() => void deleteWebhook(doomed.id).then(() => { setDoomed(null); changed(); onDeleted() }, setError)}>
            <p>Messages that wait for it are dropped, and its log goes with it.</p>
          </Confirm>
        )}
      </>
    ),
  }
}

export function Webhooks() {
  const { new: creating } = useSearch({ from: '/shell/webhooks' })
  const navigate = useNavigate()
  const query = useQuery(webhooks())
  const actions = useWebhookActions(() => {})
  const columns: Column<Webhook>[] = [
    { header: 'Webhook', cell: (w) => <div className="min-w-32"><Link to="/webhooks/$id" params={{ id: w.id }} className={rowLink}>{w.name}</Link><div className="text-[13px] break-all text-muted">{w.url}</div></div> },
    { header: 'Is told of', from: 'md', cell: criteriaWords },
    { header: 'Condition', cell: (w) => <Condition w={w} /> },
    { header: 'Delivered', from: 'sm', right: true, cell: (w) => w.delivered.toLocaleString('en') },
    { header: 'Given up', from: 'lg', right: true, cell: (w) => <span className={w.givenUp > 0 ? 'text-danger' : ''}>{w.givenUp.toLocaleString('en')}</span> },
    { header: 'Last delivery', from: 'lg', right: true, cell: (w) => <Ago at={w.lastDelivered} /> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (w) => <Menu label={`More for ${w.name}`} items={[
        { label: 'Send a test message', icon: <Send size={15} aria-hidden />, onSelect: () => actions.test(w) },
        { label: w.paused ? 'Resume' : 'Pause', icon: w.paused ? <Play size={15} aria-hidden /> : <Pause size={15} aria-hidden />, onSelect: () => actions.pause(w) },
        { label: 'Edit…', icon: <Pencil size={15} aria-hidden />, onSelect: () => actions.edit(w) },
        { label: 'Delete…', danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => actions.remove(w) },
      ]} />,
    },
  ]
  const close = () => void navigate({ to: '/webhooks', search: {} })
  return (
    <Page title="Notifications" wide actions={<Button kind="primary" onClick={() => void navigate({ to: '/webhooks', search: { new: true } })}><Plus size={15} aria-hidden /> Create a webhook</Button>}>
      <Card flush>
        <Loaded query={query}>
          {(all) => all.length === 0 ? <Empty title="Nobody is notified" command="sluice webhook create --state-type FAILED on-call https://example.org/hook">A webhook is an address that gets a signed message when a run takes a state. Messages wait in a replicated outbox until the receiver takes them.</Empty>
            : <Table label="Webhooks" columns={columns} rows={[...all].sort((a, b) => a.name.localeCompare(b.name))} id={(w) => w.id} />}
        </Loaded>
      </Card>
      {creating && <WebhookForm onClose={close} onDone={(w) => { actions.changed(); void navigate({ to: '/webhooks/$id', params: { id: w.id } }) }} />}
      {actions.dialogs}
    </Page>
  )
}
