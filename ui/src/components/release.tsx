import { useQueryClient } from '@tanstack/react-query'
import { Unlock } from 'lucide-react'
import { useState } from 'react'
import { setRunState, setTaskRunState } from '../api/runs'
import { IconButton } from './button'
import { SetState } from './state-choice'

/** Release frees the place that a run holds. Places are derived from states, so its run gets a final one. */
export function Release({ kind, id, name }: { kind: 'flow run' | 'task run'; id: string; name: string }) {
  const cache = useQueryClient()
  const [open, setOpen] = useState(false)
  return (
    <>
      <IconButton label={`Release the slot of ${name}`} onClick={() => setOpen(true)}><Unlock size={15} aria-hidden /></IconButton>
      {open && (
        <SetState
          name={name} start={{ type: 'FAILED', name: 'Crashed', message: 'its slot was released by hand', force: true }} set={(r) => (kind === 'flow run' ? setRunState(id, r) : setTaskRunState(id, r))}
          onClose={() => setOpen(false)}
          onDone={() => {
            setOpen(false)
            void cache.invalidateQueries({ predicate: (q) => ['queue-slots', 'limits', 'holders', 'work-queue', 'work-queues'].includes(String(q.queryKey[0])) })
          }}
        />
      )}
    </>
  )
}
