import { describe, expect, it } from 'vitest'
import { timeline } from './gantt'

const run = (id: string, startTime: string | null, endTime: string | null) => ({ id, name: id, startTime, endTime, expectedStartTime: null, stateType: 'RUNNING', state: null })
const now = Date.parse('2026-03-01T12:10:00Z')

describe('the timeline', () => {
  it('orders runs by their start, ends what is under way now, and counts what waits', () => {
    const g = timeline([run('b', '2026-03-01T12:01:00Z', null), run('a', '2026-03-01T12:00:00Z', '2026-03-01T12:02:00Z'), run('c', null, null)], now)
    expect(g.bars.map((b) => [b.id, b.running])).toEqual([['a', false], ['b', true]])
    expect([g.end, g.waiting]).toEqual([now, 1])
  })
  it('has an axis of round times from the beginning of the run', () => {
    const g = timeline([run('a', '2026-03-01T12:01:00Z', '2026-03-01T12:07:30Z')], now, '2026-03-01T12:00:00Z')
    expect(g.ticks.map((t) => t.label)).toEqual(['0s', '1m', '2m', '3m', '4m', '5m', '6m', '7m'].filter((_, i) => i % 2 === 0 || g.ticks.length > 6))
    expect(g.start).toBe(Date.parse('2026-03-01T12:00:00Z'))
  })
  it('shows what took no time', () => {
    const g = timeline([run('a', '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z')], now)
    expect(g.end).toBeGreaterThan(g.start)
  })
  it('is empty without runs that began', () => expect(timeline([run('a', null, null)], now)).toMatchObject({ bars: [], ticks: [], waiting: 1 }))
  it('takes ten thousand in a moment', () => {
    const many = Array.from({ length: 10_000 }, (_, i) => run(`t${i}`, new Date(now + ((i * 7919) % 10_000)).toISOString(), new Date(now + 20_000).toISOString()))
    const g = timeline(many, now)
    expect(g.bars).toHaveLength(10_000)
    expect(g.bars.every((b, i) => i === 0 || g.bars[i - 1]!.start <= b.start)).toBe(true)
  })
})
