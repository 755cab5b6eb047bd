import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ServerEvent } from './sse'
import { LiveStream, type Mark } from './stream'

interface Opened {
  url: string
  send: (text: string) => void
  end: () => void
  signal: AbortSignal
}

/** bench is a stream whose server the test plays. */
function bench() {
  const opened: Opened[] = []
  const marks: Mark[] = []
  const events: ServerEvent[] = []
  const seen = { gaps: 0, refuse: false }
  const live = new LiveStream({
    url: (from, logsOf) => `events?from=${from}&logs_of=${logsOf.join(',')}`,
    open: (url, signal) => {
      if (seen.refuse) return Promise.reject(new Error('refused'))
      let controller!: ReadableStreamDefaultController<Uint8Array>
      const body = new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) })
      opened.push({ url, signal, send: (t) => controller.enqueue(new TextEncoder().encode(t)), end: () => controller.close() })
      return Promise.resolve(new Response(body))
    },
    onEvents: (batch) => events.push(...batch),
    onGap: () => void seen.gaps++,
    onStatus: (s) => marks.push(s.mark),
  })
  return { live, opened, marks, events, seen }
}

const settle = (time = 0) => vi.advanceTimersByTimeAsync(time)

describe('the live stream', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('hands out events together, and goes on after the last one when its node goes', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('id: 1-1-0\n\nevent: flow_run\nid: 1-2-0\ndata: {}\n\n')
    await settle()
    b.opened[0]!.send('event: flow_run\nid: 1-3-0\ndata: {}\n\n')
    await settle(250)
    expect(b.events).toHaveLength(2)
    b.opened[0]!.end()
    await settle(100)
    expect(b.opened[1]!.url).toContain('from=1-3-0')
    b.opened[1]!.send('id: 1-3-0\n\n')
    await settle()
    expect(b.marks).toEqual(['connecting', 'live', 'reconnecting', 'live'])
    expect(b.seen.gaps).toBe(0)
  })

  it('polls and says so when nobody answers, and reads all again when somebody does', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('id: 1-1-0\n\n')
    await settle()
    b.seen.refuse = true
    b.opened[0]!.end()
    await settle(5_000)
    expect(b.marks.at(-1)).toBe('stale')
    const gaps = b.seen.gaps
    await settle(10_000)
    expect(b.seen.gaps).toBe(gaps + 2)
    b.seen.refuse = false
    await settle(5_000)
    b.opened.at(-1)!.send(': \n\n')
    await settle()
    expect(b.marks.at(-1)).toBe('live')
    const after = b.seen.gaps
    await settle(20_000)
    expect(b.seen.gaps).toBe(after)
  })

  it('takes a server that says nothing for gone', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('id: 1-1-0\n\n')
    await settle(39_000)
    expect(b.opened).toHaveLength(1)
    await settle(2_000)
    expect(b.opened[0]!.signal.aborted).toBe(true)
    expect(b.opened).toHaveLength(2)
  })

  it('reads all again after a reset', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('event: reset\ndata: {}\n\nid: 1-9-0\n\n')
    await settle(250)
    expect(b.seen.gaps).toBe(1)
    expect(b.events).toHaveLength(0)
  })

  it('has no connection while paused, and goes on after', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('id: 1-7-0\n\n')
    await settle()
    b.live.pause()
    expect(b.opened[0]!.signal.aborted).toBe(true)
    await settle(60_000)
    expect(b.opened).toHaveLength(1)
    b.live.start()
    await settle()
    expect(b.opened[1]!.url).toContain('from=1-7-0')
  })

  it('is one connection however many logs it follows', async () => {
    const b = bench()
    b.live.start()
    await settle()
    b.opened[0]!.send('id: 1-1-0\n\n')
    await settle()
    const stop = b.live.followLogs('a')
    b.live.followLogs('a')
    await settle()
    expect(b.opened).toHaveLength(2)
    expect(b.opened[0]!.signal.aborted).toBe(true)
    expect(b.opened[1]!.url).toBe('events?from=1-1-0&logs_of=a')
    stop()
    stop()
    await settle()
    expect(b.opened).toHaveLength(2)
  })
})
