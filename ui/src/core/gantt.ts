// The timeline of a run: bars in rows of equal height, on an axis of round times.

export interface TimedRun {
  id: string
  name: string
  startTime: string | null
  endTime: string | null
  expectedStartTime: string | null
  stateType?: string | null
  state?: { name: string } | null
}

export interface GanttBar {
  id: string
  name: string
  /** ms; end is now for what is under way */
  start: number
  end: number
  running: boolean
  stateType: string | null | undefined
  stateName: string | null | undefined
}

export interface Gantt {
  start: number
  end: number
  bars: GanttBar[]
  /** those that have not begun */
  waiting: number
  ticks: { at: number; label: string }[]
}

const sizes = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800]

function label(seconds: number): string {
  if (seconds === 0) return '0s'
  const parts: string[] = []
  let rest = seconds
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60]] as const) {
    if (rest >= size) {
      parts.push(`${Math.floor(rest / size)}${unit}`)
      rest %= size
    }
  }
  if (rest > 0.0001) parts.push(`${Number(rest.toFixed(2))}s`)
  return parts.join(' ')
}

/** timeline puts the runs in the order in which they began. */
export function timeline(runs: TimedRun[], now: number, from?: string | null): Gantt {
  const bars: GanttBar[] = []
  let waiting = 0
  for (const r of runs) {
    if (!r.startTime) {
      waiting++
      continue
    }
    const start = Date.parse(r.startTime)
    bars.push({ id: r.id, name: r.name, start, end: Math.max(start, r.endTime ? Date.parse(r.endTime) : now), running: !r.endTime, stateType: r.stateType, stateName: r.state?.name })
  }
  bars.sort((a, b) => a.start - b.start || a.name.localeCompare(b.name))
  const start = Math.min(from ? Date.parse(from) : Infinity, bars[0]?.start ?? Infinity)
  const end = bars.reduce((m, b) => Math.max(m, b.end), -Infinity)
  if (!Number.isFinite(start) || !Number.isFinite(end)) return { start: now, end: now, bars: [], waiting, ticks: [] }
  const span = Math.max((end - start) / 1000, 0.01)
  const size = sizes.find((s) => span / s <= 8) ?? sizes.at(-1)!
  const ticks = []
  for (let i = 0; i * size <= span * 1.0001; i++) ticks.push({ at: start + i * size * 1000, label: label(Number((i * size).toFixed(2))) })
  return { start, end: Math.max(end, start + 10), bars, waiting, ticks }
}
