import { describe, expect, it } from 'vitest'
import { prose } from './prose'

describe('a sentence of the server', () => {
  it('has its time told apart, and not the span twice', () => {
    expect(prose('The run is due at 2026-11-24T04:01:10.221Z, in 59m59s.')).toEqual([
      { kind: 'text', text: 'The run is due at ' }, { kind: 'time', text: '2026-11-24T04:01:10.221Z' }, { kind: 'text', text: '.' },
    ])
  })
  it('has its time told apart as people write it, too', () => {
    expect(prose('The run is due in 59m59s, at 2026-11-24 04:01:10 UTC.')).toEqual([{ kind: 'text', text: 'The run is due at ' }, { kind: 'time', text: '2026-11-24T04:01:10Z' }, { kind: 'text', text: '.' }])
  })
  it('has its commands as code, wherever they stand', () => {
    const codes = (s: string) => prose(s).filter((p) => p.kind === 'code').map((p) => p.text)
    expect(codes('Start another run now with `sluice flow-run rerun`.')).toEqual(['sluice flow-run rerun'])
    expect(codes('Make a new run (sluice flow-run rerun).')).toEqual(['sluice flow-run rerun'])
    expect(codes('Wait, or raise the limit: sluice concurrency-limit create db N')).toEqual(['sluice concurrency-limit create db N'])
    expect(codes("sluice agent start 'my queue'")).toEqual(["sluice agent start 'my queue'"])
    expect(codes('sluiced is no command, nor is sluice in a sentence')).toEqual([])
  })
  it('loses nothing', () => {
    const all = 'a `b` c 2026-11-24T04:01:10+02:00 d (sluice x) e'
    expect(prose(all).map((p) => p.text).join('')).toBe(all.replace(/`/g, ''))
  })
})
