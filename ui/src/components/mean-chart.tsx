import { useState } from 'react'
import type { Mean } from '../core/history'
import { duration, shortTime } from '../core/time'
import { useZone } from './time'

/** MeanChart is a bar for each interval; what is pointed at is told in words, and the words are always in a list for those who do not point. */
export function MeanChart({ title, means, of, tone }: { title: string; means: Mean[]; of: (m: Mean) => number | null; tone: string }) {
  const zone = useZone()
  const [at, setAt] = useState<number | null>(null)
  const values = means.map(of)
  const top = Math.max(0, ...values.map((v) => v ?? 0))
  const known = values.filter((v): v is number => v !== null)
  const pointed = at === null ? null : means[at]
  const average = known.length > 0 ? known.reduce((a, b) => a + b, 0) / known.length : null
  return (
    <figure className={`tone-${tone} min-w-0`}>
      <figcaption className="flex items-baseline justify-between gap-3 text-[13px]">
        <span className="font-medium">{title}</span>
        <span className="text-muted tabular">{pointed ? `${shortTime(pointed.start, zone)}: ${duration(of(pointed))}` : average === null ? 'no runs' : `${duration(average)} on average, ${duration(top)} at most`}</span>
      </figcaption>
      <div aria-hidden className="mt-1.5 flex h-12 items-end border-b border-line" onPointerLeave={() => setAt(null)}>
        {values.map((v, i) => (
          <span key={i} onPointerEnter={() => setAt(i)} className={`flex h-full min-w-0 flex-1 items-end justify-center ${i === at ? 'bg-accent-soft' : ''}`}>
            {v !== null && <span className="min-h-[2px] w-4/5 rounded-t-[1px] bg-(--tone-fill)" style={{ height: `${top > 0 ? (v / top) * 100 : 0}%` }} />}
          </span>
        ))}
      </div>
    </figure>
  )
}
