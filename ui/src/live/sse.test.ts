import { describe, expect, it } from 'vitest'
import { reader } from './sse'

const stream = 'id: 1-5-0\n\n: \n\nevent: flow_run\nid: 1-6-0\ndata: {"a":1}\n\nevent: reset\ndata: {}\n\nid: 1-9-0\n\n'

describe('a reader of server-sent events', () => {
  it('reads events, comments and places', () => {
    const r = reader()
    expect(r.feed(stream)).toEqual([{ name: 'flow_run', data: '{"a":1}' }, { name: 'reset', data: '{}' }])
    expect(r.lastId()).toBe('1-9-0')
  })
  it('does not care where chunks end', () => {
    for (let size = 1; size < 20; size++) {
      const r = reader()
      const seen = []
      for (let i = 0; i < stream.length; i += size) seen.push(...r.feed(stream.slice(i, i + size)))
      expect(seen).toHaveLength(2)
      expect(r.lastId()).toBe('1-9-0')
    }
  })
  it('keeps the id of before until a new one comes', () => {
    const r = reader('x')
    r.feed('event: a\ndata: 1\n\n')
    expect(r.lastId()).toBe('x')
  })
  it('joins lines of data and takes CRLF', () => {
    expect(reader().feed('data: a\r\ndata: b\r\n\r\n')).toEqual([{ name: 'message', data: 'a\nb' }])
  })
})
