import { describe, expect, it } from 'vitest'
import { csv, sheet, sorted } from './cells'

describe('a table of an artifact', () => {
  const data = [{ region: 'north', n: 10 }, { region: 'a,b', n: 9, note: '=1+1' }, { n: null }]
  it('has every column once, and knows which are numbers', () => {
    expect(sheet(data)?.columns).toEqual([{ name: 'region', numeric: false }, { name: 'n', numeric: true }, { name: 'note', numeric: false }])
    expect(sheet([1, 2])).toBeNull()
    expect(sheet({})).toBeNull()
  })
  it('sorts numbers as numbers, and what is not there last both ways', () => {
    expect(sorted(data, 'n', false).map((r) => r.n)).toEqual([9, 10, null])
    expect(sorted(data, 'n', true).map((r) => r.n)).toEqual([10, 9, null])
    expect(sorted([{ n: 12345678901234567890n }, { n: 3 }], 'n', false)[0]!.n).toBe(3)
  })
  it('becomes CSV that is quoted and runs no formula', () => {
    expect(csv(sheet(data)!)).toBe("region,n,note\r\nnorth,10,\r\n\"a,b\",9,'=1+1\r\n,,\r\n")
  })
})
