import { describe, expect, it } from 'vitest'
import { levelOf, marks, RunLog, type Line } from './run-log'

/** server is a log that grows, answers in pages, and fails when it is told to. */
function server() {
  const lines: Line[] = []
  const state = { failing: false, asked: 0, meanwhile: () => {} }
  const page = async (cursor: string, limit: number) => {
    state.asked++
    const asked = lines.length
    await Promise.resolve()
    state.meanwhile()
    if (state.failing) throw new Error('gone')
    const from = cursor === '' ? 0 : Number(cursor)
    const part = lines.slice(from, Math.min(from + Math.min(limit, 3), asked))
    const to = String(from + part.length)
    return { logs: part, nextCursor: from + part.length < asked ? to : null, end: part.length > 0 || cursor !== '' ? to : null }
  }
  const write = (n: number) => {
    for (let i = 0; i < n; i++) lines.push({ id: `l${lines.length}`, level: 20, message: `line ${lines.length}`, name: 'flow', timestamp: '', taskRunId: null })
  }
  return { page, write, state, lines }
}

const messages = (log: RunLog) => log.snapshot().lines.map((l) => l.message)

describe('the log of a run', () => {
  it('reads all pages, then what came since', async () => {
    const s = server()
    s.write(8)
    const log = new RunLog(s.page)
    await log.more()
    expect(messages(log)).toHaveLength(8)
    s.write(2)
    await log.more()
    expect(messages(log)).toEqual(s.lines.map((l) => l.message))
  })
  it('begins with nothing', async () => {
    const s = server()
    const log = new RunLog(s.page)
    await log.more()
    expect(log.snapshot()).toMatchObject({ lines: [], loading: false })
    s.write(1)
    await log.more()
    expect(messages(log)).toEqual(['line 0'])
  })
  it('looks again when it is told of lines while it reads', async () => {
    const s = server()
    s.write(1)
    const log = new RunLog(s.page)
    let told = false
    s.state.meanwhile = () => {
      if (told) return
      told = true
      s.write(1)
      void log.more()
    }
    await log.more()
    expect(messages(log)).toEqual(['line 0', 'line 1'])
  })
  it('goes on without a gap after its node went away', async () => {
    const s = server()
    s.write(4)
    const log = new RunLog(s.page)
    await log.more()
    s.state.failing = true
    s.write(3)
    await log.more()
    expect(log.snapshot().error).toBeTruthy()
    expect(messages(log)).toHaveLength(4)
    s.state.failing = false
    await log.more()
    expect(log.snapshot().error).toBeNull()
    expect(messages(log)).toEqual(s.lines.map((l) => l.message))
  })
  it('says nothing any more once stopped', async () => {
    const s = server()
    s.write(2)
    const log = new RunLog(s.page)
    const reading = log.more()
    log.stop()
    await reading
    expect(log.snapshot().lines).toHaveLength(0)
  })
})

describe('levels and marks', () => {
  it('names levels', () => expect([5, 10, 20, 25, 30, 40, 55].map(levelOf)).toEqual(['debug', 'debug', 'info', 'info', 'warning', 'error', 'critical']))
  it('marks what was searched for', () => {
    expect(marks('Hello hello', 'HELLO')).toEqual([{ text: 'Hello', hit: true }, { text: ' ', hit: false }, { text: 'hello', hit: true }])
    expect(marks('abc', '')).toEqual([{ text: 'abc', hit: false }])
    expect(marks('İa', 'a')).toEqual([{ text: 'İa', hit: false }])
  })
})
