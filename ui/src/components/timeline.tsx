import { Link } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef } from 'react'
import type { TaskRun } from '../api/runs'
import { timeline } from '../core/gantt'
import { lookOf, shortTask } from '../core/states'
import { duration } from '../core/time'
import { Empty } from './feedback'
import { ToneIcon } from './state-badge'
import { useNow } from './time'

const rowHeight = 28

/** Timeline is a bar for each task run from its start to its end; only what is in view is drawn. */
export function Timeline({ runId, tasks, from, following }: { runId: string; tasks: TaskRun[]; from?: string | null; following: boolean }) {
  const tick = useNow()
  const now = following ? tick : 0
  const g = useMemo(() => timeline(tasks as never, now || Date.now(), from), [tasks, from, now])
  const box = useRef<HTMLDivElement>(null)
  const rows = useVirtualizer({ count: g.bars.length, getScrollElement: () => box.current, estimateSize: () => rowHeight, overscan: 12 })
  if (g.bars.length === 0) return <Empty title={tasks.length > 0 ? 'No task run has begun yet' : 'This run has no task runs'}>Functions that are called as tasks appear here, each with a bar from its start to its end.</Empty>
  const place = (at: number) => `${((at - g.start) / (g.end - g.start)) * 100}%`
  return (
    <div>
      <div ref={box} role="region" aria-label="Timeline of task runs" tabIndex={0} className="max-h-[560px] overflow-auto">
        <div className="min-w-[560px]">
          <div aria-hidden className="sticky top-0 z-10 flex h-8 border-b border-line bg-surface">
            <span className="w-64 shrink-0 px-4 py-1.5 text-[13px] text-muted">Task run</span>
            <span className="relative mr-16 flex-1">
              {g.ticks.map((t) => <span key={t.at} className="absolute top-2 -translate-x-1/2 text-[12px] text-muted tabular" style={{ left: place(t.at) }}>{t.label}</span>)}
            </span>
          </div>
          <ul className="relative" style={{ height: rows.getTotalSize() }}>
            {rows.getVirtualItems().map((item) => {
              const b = g.bars[item.index]!
              const look = lookOf(b.stateType, b.stateName)
              const took = duration((b.end - b.start) / 1000)
              return (
                <li key={b.id} className="absolute inset-x-0 top-0 flex items-center hover:bg-sunken/70" style={{ height: rowHeight, transform: `translateY(${item.start}px)` }}>
                  <Link to="/runs/$id/tasks/$taskId" params={{ id: runId, taskId: b.id }} title={`${b.name}: ${look.label}, ${took}`} className="flex h-full min-w-0 flex-1 items-center">
                    <span className="flex w-64 shrink-0 items-center gap-1.5 truncate px-4"><ToneIcon tone={look.tone} size={13} /> <span className="truncate">{shortTask(b.name)}</span> <span className="sr-only">{look.label}, {took}</span></span>
                    <span className="relative mr-16 h-full flex-1">
                      {g.ticks.map((t) => <span key={t.at} aria-hidden className="absolute inset-y-0 border-l border-line/60" style={{ left: place(t.at) }} />)}
                      <span aria-hidden className={`tone-${look.tone} absolute top-1.5 h-4 min-w-[3px] rounded-[3px] bg-(--tone-fill)`} style={{ left: place(b.start), width: `${((b.end - b.start) / (g.end - g.start)) * 100}%` }} />
                      <span aria-hidden className="absolute top-1 pl-1.5 text-[12px] text-muted tabular" style={{ left: place(b.end) }}>{took}</span>
                    </span>
                  </Link>
                </li>
              )
            })}
          </ul>
        </div>
      </div>
      {g.waiting > 0 && <p className="border-t border-line px-4 py-1.5 text-[13px] text-muted">{g.waiting} more {g.waiting === 1 ? 'task run has' : 'task runs have'} not begun.</p>}
    </div>
  )
}
