import type { RunState } from '../api/runs'
import { duration } from '../core/time'
import { Prose } from './prose'
import { StateBadge } from './state-badge'
import { At } from './time'

/** StatesList is the life of a run: each state, how long it lasted, who brought it and why. */
export function StatesList({ states }: { states: RunState[] }) {
  return (
    <ol className="flex flex-col">
      {states.map((s, i) => {
        const next = states[i + 1]
        return (
          <li key={s.id} className="relative flex gap-3 pb-4 pl-1 last:pb-0">
            {next && <span aria-hidden className="absolute top-7 bottom-1 left-5 border-l-2 border-line" />}
            <span className="w-36 shrink-0"><StateBadge type={s.type} name={s.name} /></span>
            <span className="min-w-0 flex-1">
              <span className="flex flex-wrap gap-x-3"><At at={s.timestamp} />{next && <span className="text-muted">for {duration((Date.parse(next.timestamp) - Date.parse(s.timestamp)) / 1000)}</span>}</span>
              {s.message && <span className="block break-words whitespace-pre-wrap"><Prose text={s.message} /></span>}
              {s.actor && <span className="block text-[13px] text-muted">by {s.actor}</span>}
            </span>
          </li>
        )
      })}
    </ol>
  )
}
