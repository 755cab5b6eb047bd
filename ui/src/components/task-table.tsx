import { Link } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef, useState } from 'react'
import type { TaskRun } from '../api/runs'
import { lookOf, toneLabel, tones, type Tone } from '../core/states'
import { Empty } from './feedback'
import { Input } from './field'
import { StateBadge } from './state-badge'
import { Ago, Took } from './time'

/** TaskTable lists a run's task runs, windowed; the chips count them by state. */
export function TaskTable({ runId, tasks }: { runId: string; tasks: TaskRun[] }) {
  const [tone, setTone] = useState<Tone | null>(null)
  const [name, setName] = useState('')
  const looked = useMemo(() => tasks.map((t) => ({ t, tone: lookOf(t.stateType, t.state?.name).tone })), [tasks])
  const counts = useMemo(() => {
    const c = new Map<Tone, number>()
    for (const { tone } of looked) c.set(tone, (c.get(tone) ?? 0) + 1)
    return c
  }, [looked])
  const shown = useMemo(() => looked.filter((x) => (!tone || x.tone === tone) && (!name || x.t.name.toLowerCase().includes(name.toLowerCase()))).map((x) => x.t), [looked, tone, name])
  const box = useRef<HTMLDivElement>(null)
  const rows = useVirtualizer({ count: shown.length, getScrollElement: () => box.current, estimateSize: () => 38, overscan: 12 })
  if (tasks.length === 0) return <Empty title="This run has no task runs">Functions that are called as tasks appear here.</Empty>
  return (
    <div>
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2.5">
        <Input type="search" data-search aria-label="Find task runs" placeholder="Find by name" value={name} onChange={(e) => setName(e.target.value)} className="w-56!" />
        {tones.filter((t) => counts.has(t)).map((t) => (
          <button key={t} type="button" aria-pressed={tone === t} onClick={() => setTone(tone === t ? null : t)} className={`tone-${t} rounded-full border px-2.5 py-0.5 text-[13px] tabular ${tone === t ? 'border-accent bg-accent-soft font-medium' : 'border-line'} text-(--tone)`}>
            {toneLabel[t]} {counts.get(t)!.toLocaleString('en')}
          </button>
        ))}
      </div>
      <div ref={box} role="region" aria-label="Task runs" tabIndex={0} className="max-h-[560px] overflow-auto">
        <ul className="relative" style={{ height: rows.getTotalSize() }}>
          {rows.getVirtualItems().map((item) => {
            const t = shown[item.index]!
            return (
              <li key={t.id} data-row={t.id} className="absolute inset-x-0 top-0 grid h-[38px] grid-cols-[minmax(0,1fr)_auto_5rem] items-center gap-3 border-b border-line px-4 hover:bg-sunken/60 data-current:bg-accent-soft sm:grid-cols-[minmax(0,1fr)_9rem_7rem_5rem]" style={{ transform: `translateY(${item.start}px)` }}>
                <Link to="/runs/$id/tasks/$taskId" params={{ id: runId, taskId: t.id }} className="truncate font-medium hover:underline">{t.name}</Link>
                <span><StateBadge type={t.stateType} name={t.state?.name} /></span>
                <span className="hidden text-right sm:block"><Ago at={t.startTime ?? t.expectedStartTime} /></span>
                <span className="text-right"><Took start={t.startTime} end={t.endTime} seconds={t.totalRunTime} /></span>
              </li>
            )
          })}
        </ul>
      </div>
      <p className="px-4 py-1.5 text-[13px] text-muted tabular">{shown.length.toLocaleString('en')} of {tasks.length.toLocaleString('en')}</p>
    </div>
  )
}
