import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { flowRun, taskRun, taskRunStates } from '../api/runs'
import { Id } from '../components/copy'
import { Failure, Loaded, Skeleton } from '../components/feedback'
import { RawJSON } from '../components/json-view'
import { LogView } from '../components/log-view'
import { Card, Facts, Page, Tags } from '../components/page'
import { StateBadge, StateMessage } from '../components/state-badge'
import { StatesList } from '../components/states-list'
import { At, Took } from '../components/time'
import { isTerminal } from '../core/states'
import { duration } from '../core/time'

interface Input {
  input_type: string
  id?: string
  name?: string
  type?: string
}

export function TaskRunPage() {
  const { id, taskId } = useParams({ from: '/shell/runs/$id/tasks/$taskId' })
  const navigate = useNavigate()
  const query = useQuery(taskRun(taskId))
  const run = useQuery(flowRun(id))
  const states = useQuery(taskRunStates(taskId))
  const [level, setLevel] = useState(0)
  const [find, setFind] = useState('')
  const t = query.data
  const crumbs = [{ label: 'Runs', link: { to: '/runs' as const } }, { label: run.data?.name ?? 'Flow run', link: { to: '/runs/$id' as const, params: { id } } }]
  if (query.error && !t) return <Page title="Task run" crumbs={crumbs}><Failure error={query.error} retry={() => void query.refetch()} /></Page>
  const inputs = Object.entries((t?.taskInputs ?? {}) as Record<string, Input[]>)
  const policy = t?.empiricalPolicy as { max_retries?: number; retry_delay_seconds?: number } | undefined
  return (
    <Page title={t?.name ?? 'Task run'} titleMark={t && <StateBadge type={t.stateType} name={t.state?.name} large />} crumbs={crumbs}>
      {!t ? <Skeleton rows={6} /> : (
        <div className="flex flex-col gap-4">
          {t.state?.message && t.stateType !== 'COMPLETED' && <StateMessage type={t.stateType} name={t.state.name} message={t.state.message} />}
          <Card>
            <Facts
              items={[
                ['Started', <At at={t.startTime} />], ['Ended', <At at={t.endTime} />], ['Took', <Took start={t.startTime} end={t.endTime} seconds={t.totalRunTime} />],
                ['Attempts', `${t.runCount} of ${(policy?.max_retries ?? 0) + 1}${policy?.max_retries ? `, ${duration(policy.retry_delay_seconds ?? 0)} apart` : ''}`],
                ['Cache', t.state?.name === 'Cached' ? 'hit: the result is another run’s' : t.cacheKey ? 'miss: computed, and kept under its key' : 'not used'],
                t.cacheKey && ['Cache key', <code className="break-all">{t.cacheKey}</code>],
                ['Tags', t.tags.length > 0 ? <Tags tags={t.tags} /> : '–'],
                ['Task', <code className="break-all">{t.taskKey}</code>],
                ['Id', <Id id={t.id} />],
              ]}
            />
          </Card>
          <div className="grid grid-cols-[minmax(0,1fr)] gap-4 lg:grid-cols-2">
            <Card title="States"><Loaded query={states} rows={3}>{(all) => <StatesList states={all} />}</Loaded></Card>
            <Card title="Inputs">
              {inputs.length === 0 ? <p className="text-muted">None.</p> : (
                <dl className="flex flex-col gap-2">
                  {inputs.map(([name, from]) => (
                    <div key={name} className="flex flex-wrap gap-x-3">
                      <dt><code>{name}</code></dt>
                      <dd>
                        {from.length === 0 ? <span className="text-muted">a value</span> : from.map((f, i) => (
                          <span key={i}>
                            {i > 0 && ', '}
                            {f.id ? <Link to="/runs/$id/tasks/$taskId" params={{ id, taskId: f.id }} className="text-accent hover:underline">result of {f.id.slice(0, 8)}</Link> : <span>{f.name ? `parameter ${f.name}` : `a ${f.type ?? 'constant'}`}</span>}
                          </span>
                        ))}
                      </dd>
                    </div>
                  ))}
                </dl>
              )}
            </Card>
          </div>
          <Card title="Log" flush>
            <LogView runId={id} runName={t.name} following={!isTerminal(t.stateType)} level={level} find={find} taskId={taskId}
              onChange={(c) => { if ('level' in c) setLevel(c.level ?? 0); if ('find' in c) setFind(c.find ?? ''); if ('task' in c && !c.task) void navigate({ to: '/runs/$id', params: { id }, search: { line: c.line } }) }} />
          </Card>
          <Card title="As JSON"><RawJSON path={`/task_runs/${taskId}`} label="the task run as JSON" /></Card>
        </div>
      )}
    </Page>
  )
}
