import { expect, it } from 'vitest'
import { inTurn } from './turns'

it('does all, a few at a time, and goes on over failures', async () => {
  let now = 0
  let peak = 0
  const seen: number[] = []
  const failures = await inTurn([1, 2, 3, 4, 5], 2, async (n) => {
    peak = Math.max(peak, ++now)
    await Promise.resolve()
    seen.push(n)
    now--
    if (n === 2) throw new Error('no')
  })
  expect(seen.sort()).toEqual([1, 2, 3, 4, 5])
  expect(peak).toBe(2)
  expect(failures.map((f) => f.item)).toEqual([2])
})
