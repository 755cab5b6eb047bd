import { describe, expect, it } from 'vitest'
import { parseJSON, printJSON } from './json'

describe('JSON', () => {
  it('keeps integers beyond 2^53', () => {
    const text = '{"id":12345678901234567890,"n":-9007199254740993,"list":[98765432109876543210,1.25],"small":1}'
    expect(parseJSON(text)).toEqual({ id: 12345678901234567890n, n: -9007199254740993n, list: [98765432109876543210n, 1.25], small: 1 })
    expect(printJSON(parseJSON(text), 0)).toBe(text)
  })
  it('leaves digits in texts and names alone, whatever they look like', () => {
    const text = String.raw`{"12345678901234567890":"#12345678901234567890","a\"12345678901234567890":"##"}`
    expect(printJSON(parseJSON(text), 0)).toBe(text)
  })
  it('prints big integers as numbers, and texts that look like them as texts', () => {
    expect(printJSON({ a: 12345678901234567890n, b: '12345678901234567890' }, 0)).toBe('{"a":12345678901234567890,"b":"12345678901234567890"}')
  })
  it('reads what has no long number as ever', () => {
    expect(parseJSON('{"a":[1.5,"x",null,true]}')).toEqual({ a: [1.5, 'x', null, true] })
  })
  it('refuses what is no JSON, and says where', () => {
    expect(() => parseJSON('{')).toThrow()
    expect(() => parseJSON('{"a": 12345678901234567890,}')).toThrow(/position 27|JSON/)
  })
})
