import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { Ban, Flag, RotateCcw, Trash2, X } from 'lucide-react'
import { useState } from 'react'
import { createJob, previewJob, type JobRequest } from '../api/runs'
import type { RunFilter } from '../core/filter'
import { Button, IconButton } from './button'
import { Confirm } from './dialog'
import { Failure } from './feedback'
import { StateChoice, stateRequest, type ChosenState } from './state-choice'
import { tell } from './toasts'

type Action = 'cancel' | 'retry' | 'delete' | 'set_state'

const words: Record<Action, { title: string; button: string; about: string }> = {
  cancel: { title: 'Cancel', button: 'Cancel the runs', about: 'Runs that wait are cancelled at once; of those under way their owner is told to stop.' },
  retry: { title: 'Retry', button: 'Retry the runs', about: 'Runs that failed, crashed or were cancelled are tried again. Others are refused, and the job says so.' },
  set_state: { title: 'Set the state of', button: 'Set the state', about: 'Nobody who executes one of them is told to stop; whoever reports on it later is refused.' },
  delete: { title: 'Delete', button: 'Delete the runs', about: 'They go with their logs and states. What is being executed is refused.' },
}

interface Props {
  ids: string[]
  /** everything that matches the filter, not only what is on this page */
  all: boolean
  filter: RunFilter
  total: number
  pageFull: boolean
  onAll: () => void
  onClear: () => void
}

/** BulkBar does something with the rows that are selected, or with everything that matches, as a job of the server. */
export function BulkBar({ ids, all, filter, total, pageFull, onAll, onClear }: Props) {
  const [action, setAction] = useState<Action | null>(null)
  const [state, setState] = useState<ChosenState>({ type: 'CANCELLED', message: '', force: false })
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const n = all ? total : ids.length
  const request = (a: Action): JobRequest => {
    const more = a === 'set_state' ? stateRequest(state) : {}
    if (!all) return { ...more, action: a, filter: { flow_runs: { id: { any_: ids } } } }
    return Object.keys(filter).length > 0 ? { ...more, action: a, filter } : { ...more, action: a, all: true }
  }
  const preview = useQuery({ queryKey: ['job-preview', action, all, ids, filter], queryFn: () => previewJob(request(action!)), enabled: action !== null, gcTime: 0 })
  const go = async () => {
    setBusy(true)
    try {
      await createJob(request(action!))
      tell(<>The server works through {n === 1 ? 'the run' : `${n.toLocaleString('en')} runs`}. <Link to="/jobs" className="font-medium text-accent underline">See how far it is</Link></>)
      setAction(null)
      onClear()
    } catch (e) {
      setError(e)
    }
    setBusy(false)
  }
  return (
    <div role="region" aria-label="Selected runs" className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-soft px-4 py-2">
      <span className="font-medium tabular">{n.toLocaleString('en')} selected</span>
      {pageFull && !all && total > ids.length && <button type="button" onClick={onAll} className="text-accent underline">Select all {total.toLocaleString('en')} that match the filter</button>}
      <span className="ml-auto flex flex-wrap gap-1.5">
        <Button needs="operator" small onClick={() => setAction('cancel')}><Ban size={14} aria-hidden /> Cancel</Button>
        <Button needs="operator" small onClick={() => setAction('retry')}><RotateCcw size={14} aria-hidden /> Retry</Button>
        <Button needs="operator" small onClick={() => setAction('set_state')}><Flag size={14} aria-hidden /> Set state</Button>
        <Button needs="operator" small kind="danger" onClick={() => setAction('delete')}><Trash2 size={14} aria-hidden /> Delete</Button>
        <IconButton label="Select nothing" className="size-7" onClick={onClear}><X size={14} aria-hidden /></IconButton>
      </span>
      {action && (
        <Confirm title={`${words[action].title} ${n.toLocaleString('en')} ${n === 1 ? 'run' : 'runs'}?`} action={words[action].button} busy={busy} onClose={() => { setAction(null); setError(null) }} onConfirm={() => void go()} error={error ? <Failure error={error} /> : null}>
          {action === 'set_state' && <StateChoice value={state} onChange={setState} />}
          <p>{words[action].about}</p>
          <p className="text-muted">{preview.data ? `${(preview.data as { count: number }).count.toLocaleString('en')} match now.` : preview.error ? (preview.error as Error).message : 'Counting…'}</p>
        </Confirm>
      )}
    </div>
  )
}
