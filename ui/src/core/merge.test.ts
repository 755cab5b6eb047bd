import { describe, expect, it } from 'vitest'
import { inParts, merged } from './merge'

const list = (...xs: [string, number][]) => xs.map(([id, n]) => ({ id, n }))

describe('a list whose objects change', () => {
  it('replaces in place, takes out what is gone, adds what is new', () =>
    expect(merged(list(['a', 1], ['b', 1], ['c', 1]), ['b', 'c', 'd'], list(['d', 2], ['b', 2]))).toEqual(list(['a', 1], ['b', 2], ['d', 2])))
  it('does not grow beyond its bound', () => expect(merged(list(['a', 1]), ['b', 'c'], list(['b', 1], ['c', 1]), 2)).toHaveLength(2))
  it('is cut into parts', () => expect(inParts([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]))
})
