import { describe, expect, it } from 'vitest'
import { absolute, duration, ms, relative } from './time'

const now = Date.parse('2026-03-01T12:00:00Z')

describe('relative', () => {
  it.each([
    [0, 'now'], [-3, 'now'], [-61, '1 min. ago'], [3 * 3600, 'in 3 hr.'], [-2 * 86400, '2 days ago'], [-90 * 86400, '2025-12-01'],
  ])('%d seconds away is %s', (seconds, want) => {
    expect(relative(now + seconds * 1000, now)).toBe(want)
  })
})

describe('duration', () => {
  it.each([
    [null, '–'], [-1, '–'], [0, '0s'], [0.0123, '12ms'], [4, '4s'], [4.24, '4.2s'], [59.96, '1m 00s'], [123, '2m 03s'], [3900, '1h 05m'], [90000, '1d 01h'],
  ])('%s is %s', (seconds, want) => {
    expect(duration(seconds)).toBe(want)
  })
})

describe('absolute', () => {
  it('says the zone', () => {
    expect(absolute(now, 'utc')).toMatch(/01 Mar 2026.*12:00:00 UTC/)
  })
})

describe('ms', () => {
  it('takes none for none', () => {
    expect([ms(null), ms(''), ms('2026-03-01T12:00:00+00:00')]).toEqual([null, null, now])
  })
})
