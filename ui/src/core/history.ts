// The run history: which span, cut into which intervals, stacked how.
import { lookOf, tones, type Tone } from './states'

export interface Span {
  start: number
  end: number
}

/** steps in seconds, each a whole part of what comes after it, so that bars lie on round times. */
const steps = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400]

/** intervals cuts a span into at most `most` bars that begin at round times. */
export function intervals(span: Span, most = 72): { start: number; end: number; seconds: number } {
  const seconds = steps.find((s) => (span.end - span.start) / 1000 / s <= most) ?? steps.at(-1)!
  const size = seconds * 1000
  return { start: Math.floor(span.start / size) * size, end: Math.ceil(span.end / size) * size, seconds }
}

export interface Bar {
  start: number
  end: number
  /** from below */
  parts: { tone: Tone; count: number; from: number }[]
  total: number
}

interface Interval {
  intervalStart: string
  intervalEnd: string
  states: { stateType: string; stateName: string; countRuns: number; sumEstimatedRunTime?: number; sumEstimatedLateness?: number }[]
}

/** bars stacks the runs of each interval in the order of tones. */
export function bars(history: Interval[]): Bar[] {
  return history.map((h) => {
    const counts = new Map<Tone, number>()
    for (const s of h.states) {
      const { tone } = lookOf(s.stateType, s.stateName)
      counts.set(tone, (counts.get(tone) ?? 0) + s.countRuns)
    }
    let total = 0
    const parts = tones.flatMap((tone) => {
      const count = counts.get(tone) ?? 0
      if (count === 0) return []
      total += count
      return [{ tone, count, from: total - count }]
    })
    return { start: Date.parse(h.intervalStart), end: Date.parse(h.intervalEnd), parts, total }
  })
}

/** ceiling is a round number at or above the highest bar, for the axis. */
export function ceiling(most: number): number {
  if (most <= 4) return 4
  const power = 10 ** Math.floor(Math.log10(most))
  return [1, 2, 4, 5, 6, 8, 10].map((m) => m * power).find((c) => c >= most)!
}

/** brushed is the span that was drawn over the chart, in whole bars; null when it was but a click. */
export function brushed(all: Bar[], from: number, to: number): Span | null {
  const [a, b] = from < to ? [from, to] : [to, from]
  const first = all[Math.max(0, Math.floor(a * all.length))]
  const last = all[Math.min(all.length - 1, Math.floor(b * all.length))]
  if (!first || !last || b - a < 0.005) return null
  return { start: first.start, end: last.end }
}

/** pick is the index of the bar under a place between 0 and 1. */
export const pick = (n: number, at: number) => Math.min(n - 1, Math.max(0, Math.floor(at * n)))

export interface Mean {
  start: number
  end: number
  /** seconds; null where no run says */
  duration: number | null
  lateness: number | null
}

/** means are how long the runs of each interval took and how late they began, on average over those that have begun. */
export function means(history: Interval[]): Mean[] {
  return history.map((h) => {
    let n = 0
    let ran = 0
    let late = 0
    for (const s of h.states) {
      if (s.stateType === 'SCHEDULED' || s.stateType === 'PENDING') continue
      n += s.countRuns
      ran += s.sumEstimatedRunTime ?? 0
      late += s.sumEstimatedLateness ?? 0
    }
    return { start: Date.parse(h.intervalStart), end: Date.parse(h.intervalEnd), duration: n > 0 ? ran / n : null, lateness: n > 0 ? late / n : null }
  })
}
