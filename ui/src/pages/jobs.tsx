import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { Ban } from 'lucide-react'
import { cancelJob, jobs, type Job } from '../api/runs'
import { Button } from '../components/button'
import { Empty, Loaded } from '../components/feedback'
import { Card, Page } from '../components/page'
import { ToneIcon } from '../components/state-badge'
import { Ago } from '../components/time'
import { tellFailure } from '../components/toasts'
import type { Tone } from '../core/states'

const verbs: Record<string, string> = { cancel: 'Cancel', retry: 'Retry', delete: 'Delete', set_state: 'Set the state of', forget_deployment: 'Remove what is left of a deployment:', forget_flow: 'Remove what is left of a flow:' }
const toneOf: Record<string, Tone> = { running: 'running', completed: 'completed', cancelled: 'cancelled', failed: 'failed' }

function One({ job }: { job: Job }) {
  const cache = useQueryClient()
  const tone = toneOf[job.status] ?? 'unknown'
  const share = job.total === 0 ? 100 : Math.min(100, (job.lookedAt / job.total) * 100)
  return (
    <li className="flex flex-col gap-2 border-b border-line px-4 py-3 last:border-0">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <span className="font-medium">{verbs[job.action]} {job.total.toLocaleString('en')} {job.total === 1 ? 'run' : 'runs'}</span>
        <span className={`tone-${tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone) capitalize`}><ToneIcon tone={tone} size={13} /> {job.status}</span>
        <span className="text-[13px] text-muted"><Ago at={job.created} />{job.actor && ` by ${job.actor}`}</span>
        {job.status === 'running' && <Button needs="operator" small className="ml-auto" onClick={() => void cancelJob(job.id).then(() => cache.invalidateQueries({ queryKey: ['jobs'] }), tellFailure)}><Ban size={14} aria-hidden /> Stop it</Button>}
      </div>
      <div role="progressbar" aria-label="Progress" aria-valuenow={Math.round(share)} aria-valuemin={0} aria-valuemax={100} className="h-1.5 overflow-hidden rounded-full bg-sunken"><span className={`tone-${tone} block h-full bg-(--tone-fill)`} style={{ width: `${share}%` }} /></div>
      <p className="text-[13px] text-muted tabular">{job.done.toLocaleString('en')} done, {job.refused.toLocaleString('en')} refused{job.error && `: ${job.error}`}</p>
      {job.refusals.length > 0 && (
        <details className="text-[13px]">
          <summary className="text-muted">Why runs were refused</summary>
          <ul className="mt-1.5 flex flex-col gap-1">{job.refusals.slice(0, 20).map((r) => <li key={r.flowRunId}><Link to="/runs/$id" params={{ id: r.flowRunId }} className="text-accent hover:underline">{r.name}</Link>: {r.reason}</li>)}</ul>
        </details>
      )}
    </li>
  )
}

export function Jobs() {
  const query = useQuery(jobs())
  return (
    <Page title="Jobs">
      <Card flush>
        <Loaded query={query}>{(all) => (all.length === 0 ? <Empty title="No jobs" command="sluice flow-run cancel --flow my-flow --state late">What is done to many runs at once, here or from the command line, is a job of the server: it goes on when this page is closed, and when the leader changes.</Empty> : <ul>{all.map((j) => <One key={j.id} job={j} />)}</ul>)}</Loaded>
      </Card>
    </Page>
  )
}
