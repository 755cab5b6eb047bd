import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Plus, SlidersHorizontal, Trash2, Zap } from 'lucide-react'
import { useState } from 'react'
import { createScheduleEntry, deleteScheduleEntry, deployment, setSchedule, updateDeployment, updateScheduleEntry, type Deployment } from '../api/deployments'
import { workQueues } from '../api/queues'
import { flowRuns } from '../api/runs'
import { Button, buttonClass, IconButton, Needing } from '../components/button'
import { CommandLine, Id } from '../components/copy'
import { Dialog } from '../components/dialog'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Field, Input, Switch, Textarea } from '../components/field'
import { JSONView, RawJSON } from '../components/json-view'
import { FlowLink, useNames } from '../components/names'
import { Card, Facts, Page, Tags } from '../components/page'
import { RunTable } from '../components/run-table'
import { TabLinks } from '../components/tabs'
import { At, ScheduleZone } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import { quote } from '../core/commands'
import { parseJSON, printJSON } from '../core/json'
import { scheduleWords } from '../core/schedule'
import { duration } from '../core/time'
import { DeleteDeployment, MatchingQueues, NextRun, quickRun } from './deployments'
import { begun } from './flows'

function AddSchedule({ d, onClose, onDone }: { d: Deployment; onClose: () => void; onDone: () => void }) {
  const [kind, setKind] = useState<'cron' | 'interval'>('cron')
  const [cron, setCron] = useState('0 6 * * *')
  const [minutes, setMinutes] = useState('60')
  const [zone, setZone] = useState(Intl.DateTimeFormat().resolvedOptions().timeZone)
  const [error, setError] = useState<unknown>(null)
  const schedule = kind === 'cron' ? { cron, timezone: zone || null } : { interval: Number(minutes) * 60, timezone: zone || null }
  return (
    <Dialog title="Add a schedule" onClose={onClose}>
      <form className="flex flex-col gap-4" onSubmit={(e) => { e.preventDefault(); createScheduleEntry(d.id, schedule).then(() => { tell('Added the schedule.'); onDone() }, setError) }}>
        <fieldset className="flex gap-5">
          <legend className="sr-only">Kind</legend>
          {(['cron', 'interval'] as const).map((k) => <label key={k} className="flex items-center gap-2"><input type="radio" name="kind" checked={kind === k} onChange={() => setKind(k)} /> {k === 'cron' ? 'At times (cron)' : 'Every so often'}</label>)}
        </fieldset>
        {kind === 'cron'
          ? <Field label="Cron" hint="minute, hour, day, month, weekday">{(a) => <Input {...a} required value={cron} onChange={(e) => setCron(e.target.value)} />}</Field>
          : <Field label="Minutes between runs">{(a) => <Input {...a} required type="number" min="0.1" step="any" value={minutes} onChange={(e) => setMinutes(e.target.value)} />}</Field>}
        <Field label="Time zone" hint="Like Europe/Paris; nothing is UTC.">{(a) => <Input {...a} value={zone} onChange={(e) => setZone(e.target.value)} />}</Field>
        <p className="rounded-md bg-sunken px-3 py-2">{scheduleWords(schedule)}</p>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit">Add</Button></div>
      </form>
    </Dialog>
  )
}

function Schedules({ d, changed }: { d: Deployment; changed: () => void }) {
  const [adding, setAdding] = useState(false)
  const all = d.schedules ?? []
  return (
    <div>
      <div className="flex justify-end px-4 py-2.5"><Button needs="deployer" small onClick={() => setAdding(true)}><Plus size={14} aria-hidden /> Add a schedule</Button></div>
      {all.length === 0 ? <Empty title="No schedule">It runs when somebody runs it.</Empty> : (
        <ul>
          {all.map((s) => (
            <li key={s.id} className="flex flex-wrap items-center gap-4 border-t border-line px-4 py-3">
              <Switch needs="operator" on={s.active} label={`Schedule ${scheduleWords(s.schedule)}`} onChange={(on) => void updateScheduleEntry(d.id, s.id, { active: on }).then(changed, tellFailure)} />
              <span className="min-w-40 flex-1">
                <span className="block font-medium">{scheduleWords(s.schedule)}</span>
                <span className="text-[13px] text-muted">{s.active ? (s.next ?? []).slice(0, 3).map((n, i) => <span key={n}>{i > 0 && ', '}<At at={n} /></span>) : 'paused'}</span>
              </span>
              <IconButton needs="deployer" label="Delete the schedule" onClick={() => void deleteScheduleEntry(d.id, s.id).then(changed, tellFailure)}><Trash2 size={15} aria-hidden /></IconButton>
            </li>
          ))}
        </ul>
      )}
      {adding && <AddSchedule d={d} onClose={() => setAdding(false)} onDone={() => { setAdding(false); changed() }} />}
    </div>
  )
}

function Parameters({ d, changed }: { d: Deployment; changed: () => void }) {
  const [text, setText] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(null)
  const save = () => {
    try {
      const parameters = parseJSON(text!) as object
      updateDeployment(d.id, { parameters }).then(() => { setText(null); setError(null); changed(); tell('Changed the parameters. Scheduled runs have the new ones.') }, setError)
    } catch (e) {
      setError(e)
    }
  }
  return (
    <div className="flex flex-col gap-4 p-4">
      {text === null ? (
        <>
          {Object.keys(d.parameters).length === 0 ? <p className="text-muted">No parameters: the flow's defaults hold.</p> : <JSONView value={d.parameters} label="parameters" />}
          <span><Button needs="deployer" small onClick={() => setText(printJSON(d.parameters))}>Edit</Button></span>
        </>
      ) : (
        <>
          <Field label="Parameters as JSON">{(a) => <Textarea {...a} rows={10} spellCheck={false} className="font-mono" value={text} onChange={(e) => setText(e.target.value)} />}</Field>
          {error ? <Failure error={error} /> : null}
          <span className="flex gap-2"><Button kind="primary" onClick={save}>Save</Button><Button onClick={() => { setText(null); setError(null) }}>Cancel</Button></span>
        </>
      )}
      {d.parameterSchema && <div><h3 className="mb-1.5 font-medium">Schema</h3><JSONView value={d.parameterSchema} label="parameter schema" /></div>}
    </div>
  )
}

export function DeploymentPage() {
  const { id } = useParams({ from: '/shell/deployments/$id' })
  const { tab = 'runs' } = useSearch({ from: '/shell/deployments/$id' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(deployment(id))
  const queues = useQuery(workQueues())
  const { deploymentName } = useNames()
  const runs = useQuery({ ...flowRuns({ flow_runs: { deployment_id: { any_: [id] }, state: { type: { any_: begun } } } }, { limit: 50 }), enabled: tab === 'runs' })
  const upcoming = useQuery({ ...flowRuns({ flow_runs: { deployment_id: { any_: [id] }, state: { type: { any_: ['SCHEDULED'] } } } }, { limit: 50, sort: 'NEXT_SCHEDULED_START_TIME_ASC' }), enabled: tab === 'upcoming' || tab === 'runs' })
  const [doomed, setDoomed] = useState(false)
  const changed = () => void cache.invalidateQueries({ predicate: (q) => q.queryKey[0] === 'deployment' || q.queryKey[0] === 'deployments' })
  const at = (tab?: string) => ({ to: '/deployments/$id' as const, params: { id }, search: tab ? { tab } : {} })
  const d = query.data
  return (
    <Page
      wide title={d?.name ?? 'Deployment'} crumbs={[{ label: 'Deployments', link: { to: '/deployments' } }]}
      actions={d && (
        <>
          <Button needs="operator" kind="primary" data-key="r" onClick={() => void quickRun(d)}><Zap size={15} aria-hidden /> Quick Run</Button>
          <Needing needs="operator"><Link to="/deployments/$id/run" params={{ id }} className={buttonClass()}><SlidersHorizontal size={15} aria-hidden /> Custom run</Link></Needing>
          <Button needs="deployer" kind="danger" onClick={() => setDoomed(true)}><Trash2 size={15} aria-hidden /> Delete</Button>
        </>
      )}
    >
      <Loaded query={query}>
        {(d) => (
          <ScheduleZone value={d.schedule?.timezone}>
          <div className="flex flex-col gap-4">
            <Card>
              <div className="flex flex-col gap-4">
                <Facts
                  items={[
                    ['Flow', <FlowLink id={d.flowId} />],
                    ['Tags', d.tags.length > 0 ? <Tags tags={d.tags} /> : '–'],
                    ['Schedule', <span className="flex items-center gap-2">{d.schedule && <Switch needs="operator" on={d.isScheduleActive} label="Schedule" onChange={(on) => void setSchedule(id, on).then(changed, tellFailure)} />}{scheduleWords(d.schedule)}</span>],
                    ['Next run', d.isScheduleActive ? <NextRun d={d} /> : '–'],
                    ['Picked up by', <MatchingQueues d={d} queues={queues.data} />],
                    ['Flow runner', d.flowRunner.type ?? 'universal'],
                    ['Id', <Id id={id} />],
                  ]}
                />
                {deploymentName(id) && <CommandLine command={`sluice deployment run ${quote(deploymentName(id)!)} --watch`} />}
              </div>
            </Card>
            <Card flush title={<TabLinks label="About the deployment" tabs={[
              { label: 'Runs', to: at(), active: tab === 'runs' }, { label: 'Upcoming', to: at('upcoming'), active: tab === 'upcoming' },
              { label: 'Parameters', to: at('parameters'), active: tab === 'parameters' }, { label: 'Schedules', to: at('schedules'), active: tab === 'schedules', count: d.schedules?.length },
              { label: 'Configuration', to: at('configuration'), active: tab === 'configuration' },
            ]} />}>
              {tab === 'runs' && <Loaded query={runs}>{(all) => (all.length === 0 ? <Empty title="This deployment has not run yet" action={<Button needs="operator" onClick={() => void quickRun(d)}><Zap size={15} aria-hidden /> Quick Run</Button>} /> : <RunTable runs={all} without={['flow', 'deployment']} />)}</Loaded>}
              {tab === 'upcoming' && <Loaded query={upcoming}>{(all) => (all.length === 0 ? <Empty title="Nothing is scheduled" /> : <RunTable runs={all} upcoming without={['flow', 'deployment']} />)}</Loaded>}
              {tab === 'parameters' && <Parameters d={d} changed={changed} />}
              {tab === 'schedules' && <Schedules d={d} changed={changed} />}
              {tab === 'configuration' && (
                <div className="flex flex-col gap-4 p-4">
                  <Facts
                    items={[
                      ['Entry point', d.entrypoint ? <code className="break-all">{d.entrypoint}</code> : '–'], ['Code', d.flowData.encoding], ['Runs at once', d.concurrencyLimit ?? 'no limit'], ['When full', d.onConflict],
                      ['Overlap', d.overlap], ['Missed times', d.catchup], ['After a crash', d.onCrash?.retries ? `${d.onCrash.retries} retries, ${duration(d.onCrash.delaySeconds)} apart` : 'no retry'],
                      ['Time limit', d.runTimeoutSeconds ? duration(d.runTimeoutSeconds) : 'none'], ['Waits at most', d.queueTimeoutSeconds ? duration(d.queueTimeoutSeconds) : 'for ever'], ['Priority', d.priority ?? '–'],
                      ['Created', <At at={d.created} />], ['Updated', <At at={d.updated} />], ['Revision', d.revision ?? '–'],
                    ]}
                  />
                  <RawJSON path={`/deployments/${id}`} label="the deployment as JSON" />
                </div>
              )}
            </Card>
          </div>
          </ScheduleZone>
        )}
      </Loaded>
      {doomed && d && <DeleteDeployment d={d} onClose={() => setDoomed(false)} onDone={() => { changed(); void navigate({ to: '/deployments' }) }} />}
    </Page>
  )
}
