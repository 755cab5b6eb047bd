// The log of a run, read in pages by the places of its lines: no line between the first and the last that it holds is missed, and none
// comes twice, whichever node answers and however long it was silent. A log may have a million lines, so it is opened at its end (or
// at a line), and read on in either direction as one gets there. Kept outside of what is drawn, so that a line costs one append.

export interface Line {
  id: string
  /** its place in the log, for reading on from it and for links */
  cursor: string
  level: number
  message: string
  name: string
  timestamp: string
  taskRunId: string | null
}

export interface PageOfLines {
  logs: Line[]
  nextCursor: string | null
  /** the place that was looked at last */
  end: string | null
}

export interface PageRequest {
  /** behind this place, or with the line at it */
  cursor?: string
  at?: string
  order: 'asc' | 'desc'
  limit: number
  /** any line, whatever is searched for */
  any?: boolean
}

export interface State {
  lines: readonly Line[]
  /** how often lines were added or let go: lines itself stays the same array */
  version: number
  /** how many lines have come in at the top less those that were let go there, since it was opened: by so much the others have moved */
  above: number
  /** the first line, and the last one of now, are among the lines */
  atStart: boolean
  atEnd: boolean
  loading: 'first' | 'earlier' | 'later' | null
  error: unknown
}

/** Beyond this many lines those at the far end are let go, and read again when one goes there. */
export const mostLines = 50_000

const firstPage = 500
const pageSize = 2000
/** Whoever is this many pages behind does not read all of them to get to the end. */
const mostBehind = 10

export class RunLog {
  private state: State = { lines: [], version: 0, above: 0, atStart: false, atEnd: false, loading: 'first', error: null }
  private lines: Line[] = []
  /** places behind which earlier and later lines are; null is the log's own start and, for later ones, not yet known */
  private top: string | null = null
  private bottom: string | null = null
  private opened = false
  private reading: Promise<void> | null = null
  private again = false
  private stopped = false
  private generation = 0
  private listeners = new Set<() => void>()

  constructor(
    private readonly page: (request: PageRequest) => Promise<PageOfLines>,
    private from: 'start' | 'end' | { line: string } = 'end',
  ) {}

  snapshot = (): State => this.state
  subscribe = (l: () => void): (() => void) => {
    this.listeners.add(l)
    return () => this.listeners.delete(l)
  }

  /** more reads what there is behind the last line, if that is the log's own last. While it reads, further calls make it look once more. */
  more = (): Promise<void> => {
    this.again = true
    return this.exclusive(async () => {
      while (this.again) {
        this.again = false
        if (!this.opened) await this.open()
        else if (this.state.atEnd) await this.readLater(mostBehind)
      }
    })
  }

  /** earlier reads a page before the first line. */
  earlier = (): Promise<void> => this.exclusive(() => (this.opened && !this.state.atStart ? this.readEarlier(pageSize) : Promise.resolve()))

  /** later reads a page behind the last line, where lines were let go. */
  later = (): Promise<void> => this.exclusive(() => (this.opened && !this.state.atEnd ? this.readLater(1) : Promise.resolve()))

  /** go opens the log anew at its start, its end or a line. */
  go(from: 'start' | 'end' | { line: string }): Promise<void> {
    this.from = from
    this.generation++
    this.reading = null
    this.opened = false
    this.set({ error: null })
    return this.more()
  }

  stop() {
    this.stopped = true
    this.listeners.clear()
  }

  /** exclusive does one thing at a time; who asks meanwhile waits for that one. */
  private exclusive(read: () => Promise<void>): Promise<void> {
    if (this.reading) return this.reading
    const generation = this.generation
    const reading = read()
      .then(
        () => this.current(generation) && this.set({ loading: null, error: null }),
        (error: unknown) => this.current(generation) && this.set({ loading: null, error }),
      )
      .then(() => {
        if (this.reading !== reading) return
        this.reading = null
        if (this.again && !this.state.error && !this.stopped) return this.more()
      })
    this.reading = reading
    return reading
  }

  private current = (generation: number) => !this.stopped && generation === this.generation

  private async open() {
    const generation = this.generation
    this.opened = false
    this.lines = []
    this.top = this.bottom = null
    this.set({ lines: this.lines, above: 0, atStart: false, atEnd: false, loading: 'first', version: this.state.version + 1 })
    await this.openAt(generation)
    if (this.current(generation)) this.opened = true
  }

  private async openAt(generation: number) {
    if (typeof this.from === 'object') {
      const line = this.from.line
      const after = await this.page({ at: line, order: 'asc', limit: firstPage })
      if (!this.current(generation)) return
      this.top = line
      this.bottom = after.end ?? line
      this.set({ atEnd: after.nextCursor === null })
      this.append(after.logs)
      await this.readEarlier(firstPage)
      return
    }
    if (this.from === 'start') {
      this.set({ atStart: true })
      await this.readLater(1)
      return
    }
    // Where the end is now; what comes later is read from there on, whatever is found before it.
    const last = await this.page({ order: 'desc', limit: 1, any: true })
    if (!this.current(generation)) return
    const end = last.logs[0]?.cursor ?? null
    this.bottom = end
    this.set({ atEnd: true, atStart: end === null })
    if (end !== null) await this.readEarlier(firstPage, end)
  }

  private async readEarlier(limit: number, at?: string) {
    const generation = this.generation
    if (this.lines.length > 0) this.set({ loading: 'earlier' })
    for (;;) {
      const page = await this.page({ ...(at ? { at } : { cursor: this.top ?? undefined }), order: 'desc', limit })
      if (!this.current(generation)) return
      at = undefined
      this.top = page.end ?? this.top
      this.set({ atStart: page.nextCursor === null })
      this.prepend(page.logs.reverse())
      // A page that was searched in vain goes on: somebody waits for lines.
      if (page.nextCursor === null || page.logs.length > 0) return
    }
  }

  private async readLater(most: number) {
    const generation = this.generation
    if (!this.state.atEnd) this.set({ loading: 'later' })
    for (let n = 0; ; n++) {
      const page = await this.page({ cursor: this.bottom ?? undefined, order: 'asc', limit: pageSize })
      if (!this.current(generation)) return
      this.bottom = page.end ?? this.bottom
      this.append(page.logs)
      if (page.nextCursor === null) {
        if (!this.state.atEnd) this.set({ atEnd: true })
        return
      }
      if (n + 1 < most || page.logs.length === 0) continue
      if (most > 1) {
        this.from = 'end'
        return this.open()
      }
      return
    }
  }

  private append(lines: Line[]) {
    if (lines.length === 0) return
    for (const l of lines) this.lines.push(l)
    const over = this.lines.length - mostLines
    if (over > 0) {
      this.top = this.lines[over]!.cursor
      this.lines.splice(0, over)
      this.set({ atStart: false, above: this.state.above - over })
    }
    this.set({ lines: this.lines, version: this.state.version + 1 })
  }

  private prepend(lines: Line[]) {
    if (lines.length === 0) return
    this.lines.unshift(...lines)
    const over = this.lines.length - mostLines
    if (over > 0) {
      this.lines.length = mostLines
      this.bottom = this.lines.at(-1)!.cursor
      this.set({ atEnd: false })
    }
    this.set({ lines: this.lines, above: this.state.above + lines.length, version: this.state.version + 1 })
  }

  private set(change: Partial<State>) {
    this.state = { ...this.state, ...change }
    for (const l of this.listeners) l()
  }
}

export type Level = 'debug' | 'info' | 'warning' | 'error' | 'critical'

export function levelOf(level: number): Level {
  if (level >= 50) return 'critical'
  if (level >= 40) return 'error'
  if (level >= 30) return 'warning'
  return level >= 20 ? 'info' : 'debug'
}

/** marks cuts a text at what was searched for, regardless of case. */
export function marks(text: string, search: string): { text: string; hit: boolean }[] {
  if (!search) return [{ text, hit: false }]
  const parts: { text: string; hit: boolean }[] = []
  const lower = text.toLowerCase()
  const wanted = search.toLowerCase()
  // Some letters change their length with their case; then nothing is marked rather than the wrong place.
  if (lower.length !== text.length) return [{ text, hit: false }]
  let at = 0
  for (let i = lower.indexOf(wanted); i >= 0; i = lower.indexOf(wanted, at)) {
    if (i > at) parts.push({ text: text.slice(at, i), hit: false })
    parts.push({ text: text.slice(i, i + wanted.length), hit: true })
    at = i + wanted.length
  }
  if (at < text.length) parts.push({ text: text.slice(at), hit: false })
  return parts
}
