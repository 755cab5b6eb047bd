import { describe, expect, it } from 'vitest'
import { bars, brushed, ceiling, intervals, pick, means } from './history'

const hour = 3_600_000

describe('the run history', () => {
  it('cuts a span at round times', () => {
    const start = Date.parse('2026-03-01T12:07:31Z')
    expect(intervals({ start, end: start + 24 * hour })).toEqual({ start: Date.parse('2026-03-01T12:00:00Z'), end: Date.parse('2026-03-02T12:30:00Z'), seconds: 1800 })
    for (const span of [1000, 60_000, hour, 48 * hour, 90 * 24 * hour, 500 * 24 * hour]) {
      const cut = intervals({ start, end: start + span })
      expect((cut.end - cut.start) / 1000 / cut.seconds).toBeLessThanOrEqual(74)
      expect(cut.start).toBeLessThanOrEqual(start)
      expect(cut.end).toBeGreaterThanOrEqual(start + span)
    }
  })
  it('stacks states in one order, and joins those that look alike', () => {
    const [bar] = bars([{
      intervalStart: '2026-03-01T12:00:00Z', intervalEnd: '2026-03-01T13:00:00Z',
      states: [
        { stateType: 'FAILED', stateName: 'TimedOut', countRuns: 1 }, { stateType: 'FAILED', stateName: 'Failed', countRuns: 2 }, { stateType: 'FAILED', stateName: 'Crashed', countRuns: 4 },
        { stateType: 'COMPLETED', stateName: 'Completed', countRuns: 8 },
      ],
    }])
    expect(bar!.parts).toEqual([{ tone: 'completed', count: 8, from: 0 }, { tone: 'failed', count: 3, from: 8 }, { tone: 'crashed', count: 4, from: 11 }])
    expect(bar!.total).toBe(15)
  })
  it.each([[0, 4], [5, 5], [11, 20], [73, 80], [100, 100], [12345, 20000]])('an axis for %d ends at %d', (most, want) => expect(ceiling(most)).toBe(want))
  it('takes what was drawn in whole bars, either way round', () => {
    const all = Array.from({ length: 10 }, (_, i) => ({ start: i * hour, end: (i + 1) * hour, parts: [], total: 0 }))
    expect(brushed(all, 0.25, 0.51)).toEqual({ start: 2 * hour, end: 6 * hour })
    expect(brushed(all, 0.51, 0.25)).toEqual({ start: 2 * hour, end: 6 * hour })
    expect(brushed(all, -1, 2)).toEqual({ start: 0, end: 10 * hour })
    expect(brushed(all, 0.5, 0.501)).toBeNull()
    expect(brushed([], 0, 1)).toBeNull()
  })
  it('finds the bar under the pointer', () => {
    expect([pick(10, -1), pick(10, 0.55), pick(10, 1)]).toEqual([0, 5, 9])
  })
})

it('means are over the runs that have begun', () => {
  const interval = (states: object[]) => ({ intervalStart: '2026-03-01T00:00:00Z', intervalEnd: '2026-03-01T01:00:00Z', states }) as never
  expect(means([interval([{ stateType: 'COMPLETED', stateName: 'Completed', countRuns: 3, sumEstimatedRunTime: 30, sumEstimatedLateness: 3 }, { stateType: 'FAILED', stateName: 'Failed', countRuns: 1, sumEstimatedRunTime: 10, sumEstimatedLateness: 1 }, { stateType: 'SCHEDULED', stateName: 'Late', countRuns: 9, sumEstimatedLateness: 900 }]), interval([])]))
    .toEqual([expect.objectContaining({ duration: 10, lateness: 1 }), expect.objectContaining({ duration: null, lateness: null })])
})
