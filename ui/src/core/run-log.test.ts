import { describe, expect, it } from 'vitest'
import { levelOf, marks, mostLines, RunLog, type Line, type PageOfLines, type PageRequest } from './run-log'

/** server is a log that grows, answers in small pages, and fails when it is told to. Places are the numbers of lines, from 1. */
function server() {
  const lines: Line[] = []
  const state = { failing: false, asked: [] as PageRequest[], meanwhile: () => {}, wanted: (_: Line) => true, most: 3 }
  const page = async (q: PageRequest): Promise<PageOfLines> => {
    state.asked.push(q)
    const now = [...lines]
    await Promise.resolve()
    state.meanwhile()
    if (state.failing) throw new Error('gone')
    const desc = q.order === 'desc'
    const place = (l: Line) => Number(l.cursor)
    const from = Number(q.at ?? q.cursor ?? (desc ? Infinity : 0))
    const behind = (desc ? now.reverse() : now).filter((l) => (desc ? place(l) < from : place(l) > from) || (q.at !== undefined && place(l) === from))
    const looked = behind.slice(0, Math.min(q.limit, state.most))
    const end = looked.at(-1)?.cursor ?? q.cursor ?? q.at ?? null
    return { logs: looked.filter((l) => q.any || state.wanted(l)), nextCursor: looked.length < behind.length ? end : null, end }
  }
  const write = (n: number) => {
    for (let i = 0; i < n; i++) lines.push({ id: `l${lines.length}`, cursor: String(lines.length + 1), level: 20, message: `line ${lines.length}`, name: 'flow', timestamp: '', taskRunId: null })
  }
  return { page, write, state, lines }
}

const messages = (log: RunLog) => log.snapshot().lines.map((l) => l.message)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `line ${from + i}`)

describe('the log of a run', () => {
  it('is opened at its end, read to its start on demand, and then has what came since', async () => {
    const s = server()
    s.write(8)
    const log = new RunLog(s.page)
    await log.more()
    expect(messages(log)).toEqual(range(5, 8))
    expect(log.snapshot()).toMatchObject({ atEnd: true, atStart: false, loading: null })
    s.write(2)
    await log.more()
    expect(messages(log)).toEqual(range(5, 10))
    const above = log.snapshot().above
    await log.earlier()
    expect(log.snapshot().above).toBe(above + 3)
    await log.earlier()
    expect(messages(log)).toEqual(range(0, 10))
    expect(log.snapshot().atStart).toBe(true)
    const asked = s.state.asked.length
    await log.earlier()
    expect(s.state.asked).toHaveLength(asked)
  })
  it('begins with nothing', async () => {
    const s = server()
    const log = new RunLog(s.page)
    await log.more()
    expect(log.snapshot()).toMatchObject({ lines: [], loading: null, atStart: true, atEnd: true })
    s.write(1)
    await log.more()
    expect(messages(log)).toEqual(['line 0'])
  })
  it('looks again when it is told of lines while it reads, whichever way it reads', async () => {
    const s = server()
    s.write(5)
    const log = new RunLog(s.page)
    await log.more()
    let told = false
    s.state.meanwhile = () => {
      if (told) return
      told = true
      s.write(1)
      void log.more()
    }
    await log.earlier()
    expect(messages(log)).toEqual(range(0, 6))
  })
  it('goes on without a gap after its node went away', async () => {
    const s = server()
    s.write(3)
    const log = new RunLog(s.page)
    await log.more()
    s.state.failing = true
    s.write(4)
    await log.more()
    expect(log.snapshot().error).toBeTruthy()
    expect(messages(log)).toHaveLength(3)
    s.state.failing = false
    await log.more()
    expect(log.snapshot().error).toBeNull()
    expect(messages(log)).toEqual(range(0, 7))
  })
  it('opens after a failure to open', async () => {
    for (const from of ['end', 'start', { line: '2' }] as const) {
      const s = server()
      s.write(3)
      const log = new RunLog(s.page, from)
      s.state.failing = true
      await log.more()
      s.state.failing = false
      await log.more()
      expect(messages(log)).toEqual(range(0, 3))
    }
  })
  it('opens at a line, with what is around it', async () => {
    const s = server()
    s.write(12)
    const log = new RunLog(s.page, { line: '6' })
    await log.more()
    expect(messages(log)).toEqual(range(2, 8))
    expect(log.snapshot()).toMatchObject({ atEnd: false, atStart: false })
    await log.more()
    expect(messages(log)).toEqual(range(2, 8))
    await log.later()
    await log.later()
    expect(messages(log)).toEqual(range(2, 12))
    expect(log.snapshot().atEnd).toBe(true)
  })
  it('opens at its start', async () => {
    const s = server()
    s.write(5)
    const log = new RunLog(s.page)
    await log.more()
    await log.go('start')
    expect(messages(log)).toEqual(range(0, 3))
    await log.go('end')
    expect(messages(log)).toEqual(range(2, 5))
  })
  it('searches on until something is found, and sees later lines though nothing was found', async () => {
    const s = server()
    s.write(20)
    s.state.wanted = (l) => l.message === 'line 2'
    const log = new RunLog(s.page)
    await log.more()
    expect(messages(log)).toEqual(['line 2'])
    s.state.wanted = (l) => l.message === 'line 25'
    const none = new RunLog(s.page)
    await none.more()
    expect(none.snapshot()).toMatchObject({ lines: [], atStart: true, loading: null })
    s.write(10)
    await none.more()
    expect(messages(none)).toEqual(['line 25'])
  })
  it('does not read all of what came while nobody looked', async () => {
    const s = server()
    s.write(3)
    const log = new RunLog(s.page)
    await log.more()
    s.write(1000)
    await log.more()
    expect(s.state.asked.length).toBeLessThan(20)
    expect(messages(log).at(-1)).toBe('line 1002')
  })
  it('lets lines go at the far end and reads them again', async () => {
    const s = server()
    s.state.most = 2000
    s.write(mostLines + 5000)
    const log = new RunLog(s.page)
    await log.more()
    while (!log.snapshot().atStart) await log.earlier()
    expect(log.snapshot().lines).toHaveLength(mostLines)
    expect(messages(log)[0]).toBe('line 0')
    expect(log.snapshot().atEnd).toBe(false)
    s.write(1)
    await log.more()
    expect(log.snapshot().lines).toHaveLength(mostLines)
    while (!log.snapshot().atEnd) await log.later()
    expect(messages(log).at(-1)).toBe(`line ${mostLines + 5000}`)
    const kept = log.snapshot().lines
    expect(Number(kept.at(-1)!.cursor) - Number(kept[0]!.cursor)).toBe(mostLines - 1)
    expect(log.snapshot().atStart).toBe(false)
  })
  it('forgets what it asked before it was opened anew', async () => {
    const s = server()
    s.write(9)
    const log = new RunLog(s.page)
    const first = log.more()
    const second = log.go('start')
    await Promise.all([first, second])
    expect(messages(log)).toEqual(range(0, 3))
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
