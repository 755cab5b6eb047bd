import { useVirtualizer } from '@tanstack/react-virtual'
import { ArrowDownToLine, ArrowUpToLine, Download, Search, UnfoldVertical } from 'lucide-react'
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore, type ReactNode } from 'react'
import { address, download } from '../api/fetch'
import { logDownloadPath, logPage, type LogCriteria } from '../api/runs'
import { levelOf, marks, RunLog, type Level, type Line } from '../core/run-log'
import { shortTask } from '../core/states'
import { clock } from '../core/time'
import { useLiveStatus, useLogEvents } from '../live/live'
import { Button } from './button'
import { Empty, Failure, Skeleton } from './feedback'
import { Input, Select } from './field'
import { Menu } from './menu'
import { useTaskNames } from './task-names'
import { useZone } from './time'
import { tellFailure } from './toasts'

const levelTone: Record<Level, string> = { debug: 'tone-cancelled', info: 'tone-running', warning: 'tone-late', error: 'tone-failed', critical: 'tone-crashed' }

const rowHeight = 21
/** How near to either end of what is there the next page is read, in px. */
const near = 1200
/** How many lines are shown on either side of one that was found. */
const around = 5

interface Props {
  runId: string
  runName: string
  /** lines may still come */
  following: boolean
  level: number
  find: string
  taskId?: string
  /** the place of a line to open the log at */
  line?: string
  onChange: (change: { level?: number; find?: string; task?: string; line?: string }) => void
}

interface Around { before: Line[]; after: Line[] }

/** LogView is a run's log: windowed, following its end until one scrolls up, searched by the server. */
export function LogView({ runId, runName, following, level, find, taskId, line, onChange }: Props) {
  const zone = useZone()
  const [draft, setDraft] = useState(find)
  const [wrap, setWrap] = useState(true)
  const [context, setContext] = useState<ReadonlyMap<string, Around>>(new Map())
  const criteria: LogCriteria = useMemo(() => ({ search: find || undefined, level: level || undefined, taskRunId: taskId }), [find, level, taskId])
  const log = useMemo(
    () => new RunLog(({ any, ...request }) => logPage(runId, any ? {} : criteria, request), line ? { line } : 'end'),
    [runId, criteria, line],
  )
  const state = useSyncExternalStore(log.subscribe, log.snapshot)
  const more = useCallback(() => void log.more(), [log])
  useLogEvents(runId, more)
  const { mark } = useLiveStatus()
  useEffect(() => {
    more()
    return () => log.stop()
  }, [log, more])
  // A run that has just ended may have told of its last lines before they were listened for.
  useEffect(more, [following, more])
  useEffect(() => {
    if (!following || mark === 'live') return
    const t = setInterval(more, 5_000)
    return () => clearInterval(t)
  }, [following, mark, more])
  useEffect(() => setDraft(find), [find])
  useEffect(() => setContext(new Map()), [log])

  const box = useRef<HTMLDivElement>(null)
  const [stick, setStick] = useState(!line)
  useEffect(() => setStick(!line), [log, line])
  const rows = useVirtualizer({
    count: state.lines.length, getScrollElement: () => box.current, estimateSize: () => rowHeight, overscan: 20,
    getItemKey: useCallback((i: number) => log.snapshot().lines[i]?.id ?? i, [log]),
  })
  const shown = rows.getVirtualItems()
  const taskName = useTaskNames(taskId ? [] : shown.map((item) => state.lines[item.index]?.taskRunId))
  // Lines that come in above push those that are looked at down: the view moves with them.
  const above = useRef({ log, lines: 0 })
  useLayoutEffect(() => {
    const moved = above.current.log === log ? state.above - above.current.lines : 0
    above.current = { log, lines: state.above }
    if (moved !== 0 && !stick && state.loading !== 'first' && box.current) box.current.scrollTop += moved * rowHeight
  }, [log, state.above, state.loading, stick])
  useEffect(() => {
    if (stick && state.atEnd && state.lines.length > 0) rows.scrollToIndex(state.lines.length - 1, { align: 'end' })
  }, [state.version, stick, rows, state.lines, state.atEnd])
  const target = line && state.loading === null ? state.lines.findIndex((l) => l.cursor === line) : -1
  const gone = useRef<unknown>(null)
  useEffect(() => {
    if (target < 0 || gone.current === log) return
    gone.current = log
    rows.scrollToIndex(target, { align: 'center' })
  }, [target, log, rows])
  const onScroll = (e: { currentTarget: HTMLElement }) => {
    const { scrollHeight, scrollTop, clientHeight } = e.currentTarget
    const below = scrollHeight - scrollTop - clientHeight
    setStick(below < 40 && state.atEnd)
    if (state.loading !== null || state.error) return
    if (scrollTop < near && !state.atStart) void log.earlier()
    else if (below < near && !state.atEnd) void log.later()
  }
  const toEnd = () => {
    setStick(true)
    if (line) onChange({ line: undefined })
    else if (!state.atEnd) void log.go('end')
  }
  const toStart = () => {
    setStick(false)
    void (state.atStart ? Promise.resolve() : log.go('start')).then(() => box.current?.scrollTo({ top: 0 }))
  }
  const filtered = !!(find || level || taskId)
  const save = (format: 'text' | 'ndjson', c: LogCriteria) => void download(logDownloadPath(runId, c, format), `${runName}.${format === 'text' ? 'log' : 'ndjson'}`).catch(tellFailure)
  const showAround = async (l: Line) => {
    if (context.has(l.id)) {
      setContext(new Map([...context].filter(([id]) => id !== l.id)))
      return
    }
    try {
      const [before, after] = await Promise.all([
        logPage(runId, {}, { cursor: l.cursor, order: 'desc', limit: around }),
        logPage(runId, {}, { cursor: l.cursor, order: 'asc', limit: around }),
      ])
      setContext((c) => new Map([...c, [l.id, { before: before.logs.reverse(), after: after.logs }]]))
    } catch (error) {
      tellFailure(error)
    }
  }
  const linkOf = (l: Line) => address(`runs/${runId}?line=${encodeURIComponent(l.cursor)}`)
  const open = (l: Line) => onChange({ find: undefined, level: undefined, task: undefined, line: l.cursor })
  const text = (l: Line, dim: boolean, more?: ReactNode) => {
    const name = levelOf(l.level)
    return (
      <div key={l.id} className={`flex gap-3 px-4 ${levelTone[name]} ${dim ? 'opacity-75' : ''}`}>
        <a
          href={linkOf(l)} title={`${l.timestamp}: the address of this line`} aria-label={`Line of ${clock(Date.parse(l.timestamp), zone)}`}
          onClick={(e) => { if (!e.ctrlKey && !e.metaKey && !e.shiftKey) { e.preventDefault(); open(l) } }}
          className="hidden text-muted tabular hover:text-text hover:underline sm:inline"
        >
          {clock(Date.parse(l.timestamp), zone)}
        </a>
        <span className={`w-[4.2rem] shrink-0 select-none ${name === 'debug' || name === 'info' ? 'text-muted' : 'font-semibold text-(--tone)'}`}>{name.toUpperCase()}</span>
        {l.taskRunId && !taskId && <button type="button" onClick={() => onChange({ task: l.taskRunId!, line: undefined })} title={taskName(l.taskRunId)} className="hidden h-[21px] max-w-48 shrink-0 truncate text-left text-muted hover:underline md:inline">{shortTask(taskName(l.taskRunId) ?? 'task')}</button>}
        <span className={`${wrap ? 'min-w-0 break-words whitespace-pre-wrap' : 'whitespace-pre'} flex-1`}>
          {marks(l.message, find).map((m, i) => (m.hit ? <mark key={i} className="rounded-sm bg-accent text-on-accent">{m.text}</mark> : m.text))}
        </span>
        {more}
      </div>
    )
  }
  return (
    <div className="flex flex-col">
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2.5">
        <form className="relative min-w-48 flex-1" onSubmit={(e) => { e.preventDefault(); onChange({ find: draft || undefined }) }}>
          <Search size={15} aria-hidden className="absolute top-2.5 left-2.5 text-muted" />
          <Input type="search" data-search aria-label="Search the log" placeholder="Search the log, then Enter" className="pl-8" value={draft} onChange={(e) => { setDraft(e.target.value); if (e.target.value === '') onChange({ find: undefined }) }} />
        </form>
        <Select aria-label="Lowest level" className="w-auto!" value={level} onChange={(e) => onChange({ level: Number(e.target.value) || undefined })}>
          <option value={0}>all levels</option>
          <option value={20}>info and above</option>
          <option value={30}>warnings and above</option>
          <option value={40}>errors and above</option>
        </Select>
        {taskId && <Button small onClick={() => onChange({ task: undefined })}>only {taskName(taskId) ?? 'one task run'} ✕</Button>}
        <Menu
          label="Download" trigger={<Button><Download size={15} aria-hidden /> Download</Button>}
          items={[
            { label: 'All, as text', onSelect: () => save('text', {}) },
            { label: 'All, as ndjson', onSelect: () => save('ndjson', {}) },
            filtered && { label: 'What is shown, as text', onSelect: () => save('text', criteria) },
            filtered && { label: 'What is shown, as ndjson', onSelect: () => save('ndjson', criteria) },
          ]}
        />
        <label className="flex items-center gap-1.5 text-[13px] text-muted"><input type="checkbox" checked={wrap} onChange={(e) => setWrap(e.target.checked)} /> wrap</label>
      </div>
      {state.error ? <div className="p-3"><Failure error={state.error} retry={more} /></div> : null}
      {state.lines.length === 0 ? (
        state.loading ? <Skeleton rows={6} /> : state.error ? null : (
          <Empty title={filtered ? 'No line matches' : following ? 'No lines yet' : 'This run wrote no lines'}>
            {filtered ? 'Lower the level or search for something else.' : following ? 'They appear here as they are written.' : <>In Python, <code>get_run_logger()</code> writes lines that appear here.</>}
          </Empty>
        )
      ) : (
        <div className="relative">
          <div
            ref={box} role="log" aria-label="Log" aria-live="off" tabIndex={0} data-lines={state.lines.length} data-whole={(state.atStart && state.atEnd) || undefined}
            onScroll={onScroll}
            className="max-h-[min(62vh,640px)] min-h-40 overflow-auto bg-sunken py-2"
          >
            <div className="relative font-mono text-[12.5px] leading-[21px]" style={{ height: rows.getTotalSize() }}>
              {shown.map((item) => {
                const l = state.lines[item.index]
                if (!l) return null
                const near = context.get(l.id)
                return (
                  <div key={l.id} ref={rows.measureElement} data-index={item.index} aria-current={l.cursor === line ? 'location' : undefined} className={`absolute top-0 left-0 hover:bg-line/40 aria-[current]:bg-accent-soft ${near ? 'border-y border-line' : ''} ${wrap ? 'w-full' : 'min-w-full'}`} style={{ transform: `translateY(${item.start}px)` }}>
                    {near?.before.map((x) => text(x, true))}
                    {text(l, false, filtered && (
                      <button type="button" aria-label="The lines around" title="The lines around" aria-expanded={!!near} onClick={() => void showAround(l)} className="h-[21px] shrink-0 text-muted hover:text-text"><UnfoldVertical size={13} aria-hidden /></button>
                    ))}
                    {near?.after.map((x) => text(x, true))}
                    {near && <p className="px-4 font-sans"><a href={linkOf(l)} onClick={(e) => { e.preventDefault(); open(l) }} className="text-[13px] text-accent hover:underline">See it in the whole log</a></p>}
                  </div>
                )
              })}
            </div>
          </div>
          {!stick && <Button kind="primary" small className="absolute right-6 bottom-4 shadow-lg" onClick={toEnd}><ArrowDownToLine size={14} aria-hidden /> {following ? 'Follow' : 'To the end'}</Button>}
        </div>
      )}
      <p className="flex flex-wrap justify-between gap-2 border-t border-line px-4 py-1.5 text-[13px] text-muted tabular">
        <span className="flex flex-wrap items-center gap-x-3">
          <span>{state.lines.length.toLocaleString('en')} {state.lines.length === 1 ? 'line' : 'lines'}{filtered ? ' that match' : ''}{state.atStart ? '' : ', earlier ones as you scroll up'}</span>
          {!state.atStart && state.lines.length > 0 && <button type="button" onClick={toStart} className="inline-flex items-center gap-1 text-accent hover:underline"><ArrowUpToLine size={13} aria-hidden /> To the beginning</button>}
        </span>
        <span>{state.loading === 'earlier' || state.loading === 'later' ? 'reading…' : following ? (stick ? 'following' : 'scrolled up: not following') : ''}</span>
      </p>
    </div>
  )
}
