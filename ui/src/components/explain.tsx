import { useQuery } from '@tanstack/react-query'
import { Hourglass } from 'lucide-react'
import { explanation } from '../api/runs'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { CommandLine } from './copy'
import { Ago, At } from './time'

type Reason = Camel<Wire['Explanation']>['reasons'][number]

/** Sentence is the reason; times are told in the reader's zone. */
function Sentence({ reason }: { reason: Reason }) {
  if (!reason.due) return <>{reason.message}</>
  return <>{reason.code === 'retry_scheduled' ? 'The run is tried again' : 'The run is due'} <Ago at={reason.due} />: <At at={reason.due} />.</>
}

/** Explain says why a run waits, what would let it go on, and what to type. */
export function Explain({ runId }: { runId: string }) {
  const { data } = useQuery(explanation(runId))
  if (!data?.waiting) return null
  return (
    <section aria-label="Why this run waits" className="tone-late rounded-lg border border-line bg-surface">
      <div className="flex items-start gap-3 p-4">
        <span className="rounded-md bg-(--tone-soft) p-1.5 text-(--tone)"><Hourglass size={18} aria-hidden /></span>
        <div className="min-w-0 flex-1">
          <p className="text-[15px] font-semibold">{data.reasons[0] ? <Sentence reason={data.reasons[0]} /> : data.summary}</p>
          <ul className="mt-2 flex flex-col gap-3">
            {data.reasons.map((r, i) => (
              <li key={i} className="flex flex-col gap-1.5">
                {(data.reasons.length > 1 || r.message !== data.summary) && <p className="break-words"><Sentence reason={r} /></p>}
                {r.unblock && <p className="break-words text-muted">{r.unblock}</p>}
                {r.command && <CommandLine command={r.command} />}
              </li>
            ))}
          </ul>
        </div>
      </div>
    </section>
  )
}
