import { useQuery } from '@tanstack/react-query'
import { useState, type FormEvent } from 'react'
import { deployments, flows } from '../api/deployments'
import { createQueue, updateQueue, type WorkQueue } from '../api/queues'
import { queuesThatMatch } from '../core/queue-match'
import { Button } from './button'
import { Dialog } from './dialog'
import { Failure } from './feedback'
import { Field, Input, Switch } from './field'
import { tell } from './toasts'

const split = (text: string) => text.split(/[,\s]+/).map((t) => t.trim()).filter(Boolean)

/** QueueForm creates or edits a work queue and shows which deployments it would serve. */
export function QueueForm({ queue, onClose, onDone }: { queue?: WorkQueue; onClose: () => void; onDone: (id: string) => void }) {
  const all = useQuery(deployments())
  const names = useQuery(flows())
  const [name, setName] = useState(queue?.name ?? '')
  const [description, setDescription] = useState(queue?.description ?? '')
  const [paused, setPaused] = useState(queue?.isPaused ?? false)
  const [limit, setLimit] = useState(queue?.concurrencyLimit?.toString() ?? '')
  const [tags, setTags] = useState(queue?.filter.tags?.join(', ') ?? '')
  const [runners, setRunners] = useState<string[]>(queue?.filter.flowRunnerTypes ?? [])
  const [only, setOnly] = useState<string[]>(queue?.filter.deploymentIds ?? [])
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [tried, setTried] = useState(false)
  const wrongName = tried && !name.trim() ? 'A work queue needs a name.' : null
  const wrongLimit = limit !== '' && !/^\d+$/.test(limit) ? 'A whole number, or nothing for no limit.' : null
  const serves = (all.data ?? []).filter(
    (d) => queuesThatMatch(d, [{ name, isPaused: false, filter: { tags: split(tags), deploymentIds: only.length ? only : null, flowRunnerTypes: runners.length ? runners : null } }]).length > 0,
  )
  const save = async (e: FormEvent) => {
    e.preventDefault()
    setTried(true)
    if (!name.trim() || wrongLimit) return
    setBusy(true)
    setError(null)
    const fields = {
      name: name.trim(), description, is_paused: paused, concurrency_limit: limit === '' ? null : Number(limit),
      filter: { tags: split(tags).length ? split(tags) : null, deployment_ids: only.length ? only : null, flow_runner_types: runners.length ? runners : null },
    }
    try {
      const id = queue ? queue.id : (await createQueue(fields)).id
      if (queue) await updateQueue(queue.id, fields)
      tell(queue ? `Changed ${fields.name}.` : `Created the work queue ${fields.name}.`)
      onDone(id)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <Dialog title={queue ? `Edit ${queue.name}` : 'Create a work queue'} onClose={onClose} wide>
      <form onSubmit={(e) => void save(e)} className="flex flex-col gap-4" noValidate>
        <div className="grid gap-4 sm:grid-cols-2">
          <Field label="Name" required error={wrongName} hint={queue ? 'Agents keep serving it under the new name.' : undefined}>{(a) => <Input {...a} data-autofocus value={name} onChange={(e) => setName(e.target.value)} />}</Field>
          <Field label="Concurrency limit" error={wrongLimit} hint="How many of its runs may be executed at once; nothing is no limit.">{(a) => <Input {...a} inputMode="numeric" value={limit} onChange={(e) => setLimit(e.target.value)} />}</Field>
        </div>
        <Field label="Description">{(a) => <Input {...a} value={description} onChange={(e) => setDescription(e.target.value)} />}</Field>
        <Field label="Tags" hint="Runs that have all of these tags, separated by commas.">{(a) => <Input {...a} value={tags} onChange={(e) => setTags(e.target.value)} placeholder="tutorial" />}</Field>
        <fieldset>
          <legend className="font-medium">Flow runners</legend>
          <p className="text-[13px] text-muted">Only runs with one of these; none is any.</p>
          <div className="mt-1.5 flex flex-wrap gap-x-5 gap-y-1">
            {['universal', 'subprocess', 'docker', 'kubernetes'].map((r) => (
              <label key={r} className="flex items-center gap-2">
                <input type="checkbox" checked={runners.includes(r)} onChange={(e) => setRunners(e.target.checked ? [...runners, r] : runners.filter((x) => x !== r))} /> {r}
              </label>
            ))}
          </div>
        </fieldset>
        {(all.data?.length ?? 0) > 0 && (
          <fieldset>
            <legend className="font-medium">Deployments</legend>
            <p className="text-[13px] text-muted">Only runs of these; none is any.</p>
            <div className="mt-1.5 grid max-h-36 gap-x-5 gap-y-1 overflow-y-auto sm:grid-cols-2">
              {all.data!.slice(0, 200).map((d) => (
                <label key={d.id} className="flex min-w-0 items-center gap-2">
                  <input type="checkbox" checked={only.includes(d.id)} onChange={(e) => setOnly(e.target.checked ? [...only, d.id] : only.filter((x) => x !== d.id))} />
                  <span className="truncate">{names.data?.find((f) => f.id === d.flowId)?.name}/{d.name}</span>
                </label>
              ))}
            </div>
          </fieldset>
        )}
        <p role="status" className="rounded-md bg-sunken px-3 py-2">
          {all.data === undefined ? 'Looking which deployments match…' : serves.length === 0
            ? all.data.length === 0 ? 'There are no deployments yet that it could serve.' : 'No deployment that exists matches.'
            : <>Serves {serves.length === all.data.length && serves.length > 1 ? `all ${serves.length} deployments` : serves.slice(0, 4).map((d) => d.name).join(', ')}{serves.length > 4 && serves.length !== all.data.length ? ` and ${serves.length - 4} more` : ''}.</>}
        </p>
        {error ? <Failure error={error} /> : null}
        <div className="flex items-center justify-between gap-3">
          <Switch on={paused} onChange={setPaused} label="Paused" showLabel />
          <span className="flex gap-2">
            <Button onClick={onClose}>Cancel</Button>
            <Button kind="primary" type="submit" disabled={busy}>{queue ? 'Save' : 'Create'}</Button>
          </span>
        </div>
      </form>
    </Dialog>
  )
}
