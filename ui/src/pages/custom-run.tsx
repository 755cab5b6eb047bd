import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Play } from 'lucide-react'
import { useMemo, useState, type FormEvent } from 'react'
import { deployment, runDeployment, type Deployment } from '../api/deployments'
import { workQueues } from '../api/queues'
import { address, session } from '../api/fetch'
import { Button } from '../components/button'
import { CommandLine } from '../components/copy'
import { Failure, Loaded } from '../components/feedback'
import { Field, Input, Textarea } from '../components/field'
import { useNames } from '../components/names'
import { Card, Page } from '../components/page'
import { SchemaForm } from '../components/schema-form'
import { tell } from '../components/toasts'
import { curlCommand, runBody, runCommand } from '../core/commands'
import { parseJSON, printJSON } from '../core/json'
import { queuesThatMatch } from '../core/queue-match'
import { check, fields, type Schema } from '../core/schema-form'

type Values = Record<string, unknown>

function initial(d: Deployment, given: string | undefined): Values {
  try {
    return given ? (parseJSON(given) as Values) : { ...d.parameters }
  } catch {
    return { ...d.parameters }
  }
}

function guessed(parameters: Values): Schema {
  const type = (v: unknown) => (typeof v === 'string' ? 'string' : typeof v === 'number' ? 'number' : typeof v === 'boolean' ? 'boolean' : undefined)
  return { type: 'object', properties: Object.fromEntries(Object.entries(parameters).map(([k, v]) => [k, { type: type(v) }])) }
}

function Form({ d }: { d: Deployment }) {
  const search = useSearch({ from: '/shell/deployments/$id/run' })
  const navigate = useNavigate()
  const queues = useQuery(workQueues())
  const { deploymentName } = useNames()
  // The one value: the form and the JSON text are both views of it.
  const [value, setValue] = useState<Values>(() => initial(d, search.params))
  const [text, setText] = useState<string | null>(null)
  const [raw, setRaw] = useState(false)
  const [name, setName] = useState(search.name ?? '')
  const [tags, setTags] = useState(search.tags ?? '')
  const [when, setWhen] = useState<'now' | 'in' | 'at'>('now')
  const [minutes, setMinutes] = useState('10')
  const [moment, setMoment] = useState('')
  const [key, setKey] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [tried, setTried] = useState(false)
  const schema = (d.parameterSchema as Schema | null | undefined) ?? guessed(d.parameters as Values)
  const list = useMemo(() => fields(schema), [schema])
  const found = useMemo(() => (d.parameterSchema ? check(list, value) : new Map<string, string>()), [d.parameterSchema, list, value])
  const badText = useMemo(() => {
    if (text === null) return null
    try {
      const v = parseJSON(text)
      return v !== null && typeof v === 'object' && !Array.isArray(v) ? null : 'The parameters are an object: {"name": value}.'
    } catch (e) {
      return `This is no JSON: ${(e as Error).message}`
    }
  }, [text])
  const more = tags.split(/[,\s]+/).filter(Boolean)
  const at = when === 'in' && Number(minutes) > 0 ? new Date(Date.now() + Number(minutes) * 60_000).toISOString() : when === 'at' && moment ? new Date(moment).toISOString() : undefined
  const run = { name: name || undefined, parameters: value, tags: more, at, idempotencyKey: key || undefined }
  const pickers = queuesThatMatch(d, queues.data ?? [], more)
  const start = async (e: FormEvent) => {
    e.preventDefault()
    setTried(true)
    if (badText || found.size > 0) return
    setBusy(true)
    setError(null)
    try {
      const made = await runDeployment(d.id, runBody(run))
      tell(`Created the flow run ${made.name}.`)
      void navigate({ to: '/runs/$id', params: { id: made.id } })
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <form onSubmit={(e) => void start(e)} noValidate className="grid grid-cols-[minmax(0,1fr)] items-start gap-4 lg:grid-cols-[minmax(0,1fr)_380px]">
      <Card
        title="Parameters"
        aside={
          <span role="group" aria-label="View" className="inline-flex rounded-md border border-line p-0.5">
            {(['Form', 'JSON'] as const).map((v) => (
              <button key={v} type="button" aria-pressed={raw === (v === 'JSON')} disabled={!!badText && v === 'Form'} onClick={() => { setRaw(v === 'JSON'); setText(v === 'JSON' ? printJSON(value) : null) }} className={`rounded px-2.5 py-0.5 text-[13px] disabled:opacity-50 ${raw === (v === 'JSON') ? 'bg-accent-soft font-medium text-accent' : 'text-muted'}`}>{v}</button>
            ))}
          </span>
        }
      >
        {raw ? (
          <Field label="Parameters as JSON" error={badText}>
            {(a) => (
              <Textarea {...a} rows={14} spellCheck={false} className="font-mono" value={text ?? ''} onChange={(e) => {
                setText(e.target.value)
                try {
                  const v = parseJSON(e.target.value)
                  if (v !== null && typeof v === 'object' && !Array.isArray(v)) setValue(v as Values)
                } catch {
                  // Said beside the field.
                }
              }} />
            )}
          </Field>
        ) : list.length === 0 ? (
          <p className="text-muted">This deployment says nothing about its flow's parameters. Give them as JSON, if it takes any.</p>
        ) : (
          <SchemaForm fields={list} value={value} problems={tried ? found : new Map()} onChange={setValue} />
        )}
      </Card>
      <div className="flex flex-col gap-4">
        <Card title="The run">
          <div className="flex flex-col gap-4">
            <Field label="Name" hint="Two random words otherwise.">{(a) => <Input {...a} value={name} onChange={(e) => setName(e.target.value)} />}</Field>
            <Field label="More tags" hint={d.tags.length > 0 ? `Beside ${d.tags.join(', ')}.` : 'Separated by commas.'}>{(a) => <Input {...a} value={tags} onChange={(e) => setTags(e.target.value)} />}</Field>
            <fieldset className="flex flex-col gap-1.5">
              <legend className="mb-1 font-medium">Start</legend>
              <label className="flex items-center gap-2"><input type="radio" name="when" checked={when === 'now'} onChange={() => setWhen('now')} /> now</label>
              <div className="flex items-center gap-2"><label className="flex items-center gap-2"><input type="radio" name="when" checked={when === 'in'} onChange={() => setWhen('in')} /> in</label><Input aria-label="Minutes from now" type="number" min="0" className="w-24!" value={minutes} onFocus={() => setWhen('in')} onChange={(e) => setMinutes(e.target.value)} /> minutes</div>
              <div className="flex items-center gap-2"><label className="flex items-center gap-2"><input type="radio" name="when" checked={when === 'at'} onChange={() => setWhen('at')} /> at</label><Input aria-label="Moment, local time" type="datetime-local" value={moment} onFocus={() => setWhen('at')} onChange={(e) => setMoment(e.target.value)} /></div>
            </fieldset>
            <Field label="Idempotency key" hint="A second run with the same key is the first one.">{(a) => <Input {...a} value={key} onChange={(e) => setKey(e.target.value)} />}</Field>
            <p role="status" className={`rounded-md px-3 py-2 ${pickers.length === 0 && queues.data ? 'tone-late bg-(--tone-soft) text-(--tone)' : 'bg-sunken'}`}>
              {!queues.data ? 'Looking which work queue takes it…' : pickers.length === 0 ? 'No work queue matches: the run would wait.' : `Will be picked up by ${pickers.map((q) => q.name + (q.isPaused ? ' (paused)' : '')).slice(0, 3).join(' or ')}.`}
            </p>
            {tried && found.size > 0 && <p role="alert" className="text-danger">{found.size === 1 ? 'One parameter is' : `${found.size} parameters are`} not as the schema wants: {[...found.keys()].join(', ')}.</p>}
            {error ? <Failure error={error} /> : null}
            <Button needs="operator" kind="primary" type="submit" disabled={busy || !!badText}><Play size={15} aria-hidden /> Run</Button>
          </div>
        </Card>
        <Card title="The same by hand">
          <div className="flex flex-col gap-2">
            <CommandLine command={runCommand(deploymentName(d.id) ?? d.name, d.id, run)} />
            <CommandLine command={curlCommand(address('api'), d.id, run, session.token() !== null)} />
          </div>
        </Card>
      </div>
    </form>
  )
}

export function CustomRun() {
  const { id } = useParams({ from: '/shell/deployments/$id/run' })
  const query = useQuery(deployment(id))
  return (
    <Page wide title="Custom run" crumbs={[{ label: 'Deployments', link: { to: '/deployments' } }, { label: query.data?.name ?? '…', link: { to: '/deployments/$id', params: { id } } }]}>
      <Loaded query={query}>{(d) => <Form d={d} />}</Loaded>
    </Page>
  )
}
