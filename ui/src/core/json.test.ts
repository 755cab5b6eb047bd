import { describe, expect, it } from 'vitest'
import { parseJSON, printJSON } from './json'

// Whether this JavaScript tells a reviver the source text of a number.
let exact = false
JSON.parse('1', ((_: string, __: unknown, context?: { source?: string }) => (exact = context?.source === '1')) as never)

describe('JSON', () => {
  it.runIf(exact)('keeps integers beyond 2^53', () => {
    const text = '{"id":12345678901234567890,"n":-9007199254740993,"small":1}'
    expect(printJSON(parseJSON(text), 0)).toBe(text)
  })
  it('prints big integers as numbers, and texts that look like them as texts', () => {
    expect(printJSON({ a: 12345678901234567890n, b: '12345678901234567890' }, 0)).toBe('{"a":12345678901234567890,"b":"12345678901234567890"}')
  })
  it('reads what has no long number as ever', () => {
    expect(parseJSON('{"a":[1.5,"x",null,true]}')).toEqual({ a: [1.5, 'x', null, true] })
  })
  it('refuses what is no JSON', () => {
    expect(() => parseJSON('{')).toThrow()
  })
})
