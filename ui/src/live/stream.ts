// One stream of events per tab. It goes on where it was, on whichever node answers; when it cannot, the interface polls and
// says so. A tab that nobody sees has none.
import { reader, type ServerEvent } from './sse'

export type Mark = 'connecting' | 'live' | 'reconnecting' | 'stale' | 'paused'

export interface Status {
  mark: Mark
  /** when events last were known to be complete, in ms */
  since: number
}

export interface Setup {
  open: (url: string, signal: AbortSignal) => Promise<Response>
  url: (from: string, logsOf: string[]) => string
  onEvents: (events: ServerEvent[]) => void
  /** events may have been missed: everything that is shown must be read again */
  onGap: () => void
  onStatus: (status: Status) => void
  now?: () => number
}

const delays = [100, 250, 500, 1000, 2000, 5000]
/** The server writes every 15 s at least. */
const silence = 40_000
/** How long without a stream until the interface polls and says "stale". */
const staleAfter = 5_000
const pollEvery = 5_000
const coalesce = 250

export class LiveStream {
  private status: Status
  private from = ''
  private logsOf = new Map<string, number>()
  private attempt = 0
  private abort: AbortController | null = null
  private timers = new Set<ReturnType<typeof setTimeout>>()
  private watchdog: ReturnType<typeof setTimeout> | null = null
  private poll: ReturnType<typeof setInterval> | null = null
  private waiting: ServerEvent[] = []
  private flushing: ReturnType<typeof setTimeout> | null = null
  private readonly now: () => number

  constructor(private readonly setup: Setup) {
    this.now = setup.now ?? Date.now
    this.status = { mark: 'paused', since: this.now() }
  }

  start() {
    if (this.status.mark !== 'paused') return
    this.attempt = 0
    this.tell('connecting')
    this.after(staleAfter, () => this.degrade())
    void this.connect()
  }

  /** pause closes the stream; start goes on after the last event. */
  pause() {
    this.clear()
    this.tell('paused')
  }

  /** followLogs adds a run whose new log lines are told of; the returned function takes it away. */
  followLogs(id: string): () => void {
    const n = this.logsOf.get(id) ?? 0
    this.logsOf.set(id, n + 1)
    if (n === 0) this.reopen()
    let done = false
    return () => {
      if (done) return
      done = true
      const left = (this.logsOf.get(id) ?? 1) - 1
      // The stream need not be opened anew to be told less.
      if (left > 0) this.logsOf.set(id, left)
      else this.logsOf.delete(id)
    }
  }

  private reopen() {
    if (this.status.mark === 'paused') return
    this.abort?.abort()
    this.abort = null
    void this.connect()
  }

  private async connect() {
    const abort = (this.abort = new AbortController())
    const current = () => this.abort === abort
    try {
      const response = await this.setup.open(this.setup.url(this.from, [...this.logsOf.keys()]), abort.signal)
      if (!response.ok || !response.body) throw new Error(`the stream was answered ${response.status}`)
      if (!current()) return
      const sse = reader(this.from)
      const decoder = new TextDecoder()
      const chunks = response.body.getReader()
      this.watch(abort)
      for (;;) {
        const { done, value } = await chunks.read()
        if (!current()) return
        if (done) break
        this.watch(abort)
        const events = sse.feed(decoder.decode(value, { stream: true }))
        this.from = sse.lastId()
        this.opened()
        this.take(events)
      }
    } catch {
      // Told by the mark.
    }
    if (!current()) return
    this.abort = null
    this.retry()
  }

  private opened() {
    this.attempt = 0
    if (this.status.mark === 'live') return
    const wasStale = this.status.mark === 'stale'
    this.clearTimers()
    this.tell('live')
    if (wasStale) this.setup.onGap()
  }

  private retry() {
    if (this.watchdog) clearTimeout(this.watchdog)
    if (this.status.mark === 'live') {
      this.tell('reconnecting')
      this.after(staleAfter, () => this.degrade())
    }
    const delay = delays[Math.min(this.attempt, delays.length - 1)]!
    this.attempt++
    this.after(delay, () => void this.connect())
  }

  private degrade() {
    if (this.status.mark === 'live' || this.status.mark === 'paused') return
    this.tell('stale', this.status.since)
    this.setup.onGap()
    this.poll ??= setInterval(() => this.setup.onGap(), pollEvery)
  }

  private take(events: ServerEvent[]) {
    for (const e of events) {
      if (e.name === 'reset') {
        this.waiting = []
        this.setup.onGap()
      } else this.waiting.push(e)
    }
    if (this.waiting.length === 0 || this.flushing) return
    this.flushing = setTimeout(() => {
      this.flushing = null
      const batch = this.waiting
      this.waiting = []
      this.setup.onEvents(batch)
    }, coalesce)
  }

  private watch(abort: AbortController) {
    if (this.watchdog) clearTimeout(this.watchdog)
    this.watchdog = setTimeout(() => {
      if (this.abort !== abort) return
      this.abort = null
      abort.abort()
      this.retry()
    }, silence)
  }

  private tell(mark: Mark, since = this.now()) {
    this.status = { mark, since }
    this.setup.onStatus(this.status)
  }

  private after(delay: number, f: () => void) {
    const t = setTimeout(() => {
      this.timers.delete(t)
      f()
    }, delay)
    this.timers.add(t)
  }

  private clearTimers() {
    for (const t of this.timers) clearTimeout(t)
    this.timers.clear()
    if (this.poll) clearInterval(this.poll)
    this.poll = null
  }

  private clear() {
    this.clearTimers()
    if (this.watchdog) clearTimeout(this.watchdog)
    this.abort?.abort()
    this.abort = null
  }
}
