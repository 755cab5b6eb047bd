import { useQuery } from '@tanstack/react-query'
import { Hourglass } from 'lucide-react'
import { explanation, type Explanation } from '../api/runs'
import { CommandLine } from './copy'
import { Prose } from './prose'

/** Explain says why a run waits, what would let it go on, and what to type. */
export function Explain({ runId }: { runId: string }) {
  const { data } = useQuery(explanation(runId))
  return data?.waiting ? <Reasons explanation={data} /> : null
}

export function Reasons({ explanation: { summary, reasons } }: { explanation: Explanation }) {
  const one = reasons.length === 1
  return (
    <section aria-label="Why this run waits" className="tone-late flex items-start gap-3 rounded-lg border border-line border-l-4 border-l-(--tone-fill) bg-surface p-4">
      <span className="rounded-md bg-(--tone-soft) p-1.5 text-(--tone)"><Hourglass size={18} aria-hidden /></span>
      <div className="min-w-0 flex-1">
        <h2 className="text-[15px] font-semibold break-words">{one ? <Prose text={summary} /> : `It waits for ${reasons.length} things`}</h2>
        <ol className={`mt-2 flex flex-col gap-4 ${one ? '' : 'list-decimal pl-5 marker:text-muted'}`}>
          {reasons.map((r, i) => (
            <li key={i} className={one ? 'list-none' : ''}>
              <div className="flex flex-col gap-1.5">
                {(!one || r.message !== summary) && <p className="font-medium break-words"><Prose text={r.message} /></p>}
                {r.unblock && r.unblock !== r.command && <p className="break-words text-muted"><Prose text={r.unblock} /></p>}
                {r.command && <CommandLine command={r.command} />}
              </div>
            </li>
          ))}
        </ol>
      </div>
    </section>
  )
}
