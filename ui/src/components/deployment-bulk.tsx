import { useQueryClient } from '@tanstack/react-query'
import { Pause, Play, Trash2, X, Zap } from 'lucide-react'
import { useState } from 'react'
import { deleteDeployment, runDeployment, setSchedule, type Deployment } from '../api/deployments'
import { inTurn } from '../core/turns'
import { Button, IconButton } from './button'
import { Confirm } from './dialog'
import { tell } from './toasts'

type Action = 'pause' | 'resume' | 'run' | 'delete'

const words: Record<Action, { done: string; title: string; button: string; about: string }> = {
  pause: { done: 'Paused the schedules of', title: 'Pause the schedules of', button: 'Pause', about: '' },
  resume: { done: 'Resumed the schedules of', title: 'Resume the schedules of', button: 'Resume', about: '' },
  run: { done: 'Created a run of each of', title: 'Run', button: 'Run them now', about: 'Each gets a run with its own parameters, due at once.' },
  delete: { done: 'Deleted', title: 'Delete', button: 'Delete the deployments', about: 'Their scheduled runs that have not begun go with them. Runs that have begun stay.' },
}

const act = (a: Action, d: Deployment): Promise<unknown> => (a === 'run' ? runDeployment(d.id) : a === 'delete' ? deleteDeployment(d.id) : setSchedule(d.id, a === 'resume'))

/** DeploymentBulk does something with the deployments that are selected, a few at a time. */
export function DeploymentBulk({ chosen, onClear }: { chosen: Deployment[]; onClear: () => void }) {
  const cache = useQueryClient()
  const [asking, setAsking] = useState<Action | null>(null)
  const [done, setDone] = useState<number | null>(null)
  const scheduled = chosen.filter((d) => d.schedule || (d.schedules?.length ?? 0) > 0)
  const go = async (a: Action) => {
    const targets = a === 'pause' || a === 'resume' ? scheduled : chosen
    setDone(0)
    const failures = await inTurn(targets, 4, (d) => act(a, d), setDone)
    setDone(null)
    setAsking(null)
    const n = targets.length - failures.length
    const first = failures[0]
    if (first) tell(<>{words[a].done} {n} of {targets.length}. {first.item.name}: {(first.error as Error).message}{failures.length > 1 && ` And ${failures.length - 1} more were refused.`}</>, true)
    else tell(`${words[a].done} ${n} ${n === 1 ? 'deployment' : 'deployments'}.`)
    void cache.invalidateQueries({ queryKey: ['deployments'] })
    onClear()
  }
  return (
    <div role="region" aria-label="Selected deployments" className="flex flex-wrap items-center gap-1.5 border-b border-line bg-accent-soft px-4 py-2">
      <span className="mr-auto font-medium tabular">{chosen.length.toLocaleString('en')} selected{done !== null && `, ${done} done`}</span>
      <Button small disabled={done !== null} onClick={() => setAsking('run')}><Zap size={14} aria-hidden /> Run</Button>
      <Button small disabled={done !== null || scheduled.length === 0} onClick={() => void go('pause')}><Pause size={14} aria-hidden /> Pause</Button>
      <Button small disabled={done !== null || scheduled.length === 0} onClick={() => void go('resume')}><Play size={14} aria-hidden /> Resume</Button>
      <Button small kind="danger" disabled={done !== null} onClick={() => setAsking('delete')}><Trash2 size={14} aria-hidden /> Delete</Button>
      <IconButton label="Select nothing" className="size-7" onClick={onClear}><X size={14} aria-hidden /></IconButton>
      {asking && (
        <Confirm title={`${words[asking].title} ${chosen.length} ${chosen.length === 1 ? 'deployment' : 'deployments'}?`} action={words[asking].button} busy={done !== null} onClose={() => setAsking(null)} onConfirm={() => void go(asking)}>
          <p>{words[asking].about}</p>
          <p className="text-muted">{chosen.slice(0, 8).map((d) => d.name).join(', ')}{chosen.length > 8 && ` and ${chosen.length - 8} more`}</p>
        </Confirm>
      )}
    </div>
  )
}
