// The log of a run, read page after page behind a cursor: no line is missed and none comes twice, whichever node answers and
// however long it was silent. Kept outside of what is drawn, so that a line costs one append.

export interface Line {
  id: string
  level: number
  message: string
  name: string
  timestamp: string
  taskRunId: string | null
}

export interface PageOfLines {
  logs: Line[]
  nextCursor: string | null
  /** leads to lines that come later */
  end: string | null
}

export interface State {
  lines: readonly Line[]
  /** how often lines were added or replaced: lines itself stays the same array */
  version: number
  loading: boolean
  error: unknown
  /** lines that were let go at the beginning */
  dropped: number
}

/** Beyond this many lines the first ones are let go: search and download have them all. */
export const mostLines = 200_000

const pageSize = 2000

export class RunLog {
  private state: State = { lines: [], version: 0, loading: true, error: null, dropped: 0 }
  private lines: Line[] = []
  private cursor = ''
  private reading: Promise<void> | null = null
  private again = false
  private stopped = false
  private listeners = new Set<() => void>()
  private seen = new Set<string>()

  constructor(private readonly page: (cursor: string, limit: number) => Promise<PageOfLines>) {}

  snapshot = (): State => this.state
  subscribe = (l: () => void): (() => void) => {
    this.listeners.add(l)
    return () => this.listeners.delete(l)
  }

  /** more reads what there is behind the last line. While it reads, further calls make it look once more. */
  more = (): Promise<void> => {
    if (this.reading) {
      this.again = true
      return this.reading
    }
    this.reading = this.read().finally(() => (this.reading = null))
    return this.reading
  }

  stop() {
    this.stopped = true
    this.listeners.clear()
  }

  private async read() {
    do {
      this.again = false
      try {
        for (;;) {
          const page = await this.page(this.cursor, pageSize)
          if (this.stopped) return
          this.add(page.logs)
          this.cursor = page.end ?? this.cursor
          if (page.nextCursor === null) break
        }
        this.set({ loading: false, error: null })
      } catch (error) {
        if (this.stopped) return
        this.set({ loading: false, error })
        return
      }
    } while (this.again)
  }

  private add(lines: Line[]) {
    const fresh = lines.filter((l) => !this.seen.has(l.id))
    if (fresh.length === 0) return
    for (const l of fresh) {
      this.seen.add(l.id)
      this.lines.push(l)
    }
    let dropped = this.state.dropped
    if (this.lines.length > mostLines) {
      const gone = this.lines.splice(0, this.lines.length - mostLines)
      for (const l of gone) this.seen.delete(l.id)
      dropped += gone.length
    }
    this.set({ lines: this.lines, dropped, version: this.state.version + 1 })
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
