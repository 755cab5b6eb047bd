import { useVirtualizer } from '@tanstack/react-virtual'
import { ArrowDownToLine, Download, Search } from 'lucide-react'
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { download } from '../api/fetch'
import { logDownloadPath, logPage, type LogCriteria } from '../api/runs'
import { levelOf, marks, RunLog, type Level } from '../core/run-log'
import { shortTask } from '../core/states'
import { clock } from '../core/time'
import { useLiveStatus, useLogEvents } from '../live/live'
import { Button } from './button'
import { Empty, Failure, Skeleton } from './feedback'
import { Input, Select } from './field'
import { Menu } from './menu'
import { useZone } from './time'
import { tellFailure } from './toasts'

const levelTone: Record<Level, string> = { debug: 'tone-cancelled', info: 'tone-running', warning: 'tone-late', error: 'tone-failed', critical: 'tone-crashed' }

interface Props {
  runId: string
  runName: string
  /** lines may still come */
  following: boolean
  level: number
  find: string
  taskId?: string
  taskName?: (id: string) => string | undefined
  onChange: (change: { level?: number; find?: string; task?: string }) => void
}

/** LogView is a run's log: windowed, following its end until one scrolls up, searched by the server. */
export function LogView({ runId, runName, following, level, find, taskId, taskName, onChange }: Props) {
  const zone = useZone()
  const [draft, setDraft] = useState(find)
  const [wrap, setWrap] = useState(true)
  const criteria: LogCriteria = useMemo(() => ({ search: find || undefined, level: level || undefined, taskRunId: taskId }), [find, level, taskId])
  const log = useMemo(() => new RunLog((cursor, limit) => logPage(runId, criteria, { cursor: cursor || undefined, limit })), [runId, criteria])
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

  const box = useRef<HTMLDivElement>(null)
  const [stick, setStick] = useState(true)
  const rows = useVirtualizer({ count: state.lines.length, getScrollElement: () => box.current, estimateSize: () => 21, overscan: 20 })
  useEffect(() => {
    if (stick && state.lines.length > 0) rows.scrollToIndex(state.lines.length - 1, { align: 'end' })
  }, [state.version, stick, rows, state.lines])
  const filtered = !!(find || level || taskId)
  const save = (format: 'text' | 'ndjson', c: LogCriteria) => void download(logDownloadPath(runId, c, format), `${runName}.${format === 'text' ? 'log' : 'ndjson'}`).catch(tellFailure)
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
        {taskId && <Button small onClick={() => onChange({ task: undefined })}>only {taskName?.(taskId) ?? 'one task run'} ✕</Button>}
        <Menu
          label="Download" trigger={<Button><Download size={15} aria-hidden /> Download</Button>}
          items={[
            { label: 'All, as text', onSelect: () => save('text', {}) },
            { label: 'All, as ndjson', onSelect: () => save('ndjson', {}) },
            filtered && { label: 'What is shown, as text', onSelect: () => save('text', criteria) },
          ]}
        />
        <label className="flex items-center gap-1.5 text-[13px] text-muted"><input type="checkbox" checked={wrap} onChange={(e) => setWrap(e.target.checked)} /> wrap</label>
      </div>
      {state.error ? <div className="p-3"><Failure error={state.error} retry={more} /></div> : null}
      {state.dropped > 0 && <p className="border-b border-line px-4 py-1.5 text-[13px] text-muted">The first {state.dropped.toLocaleString('en')} lines are not shown here; search and download have them.</p>}
      {state.lines.length === 0 ? (
        state.loading ? <Skeleton rows={6} /> : (
          <Empty title={filtered ? 'No line matches' : following ? 'No lines yet' : 'This run wrote no lines'}>
            {filtered ? 'Lower the level or search for something else.' : following ? 'They appear here as they are written.' : <>In Python, <code>get_run_logger()</code> writes lines that appear here.</>}
          </Empty>
        )
      ) : (
        <div className="relative">
          <div
            ref={box} role="log" aria-label="Log" aria-live="off" tabIndex={0} data-lines={state.lines.length}
            onScroll={(e) => setStick(e.currentTarget.scrollHeight - e.currentTarget.scrollTop - e.currentTarget.clientHeight < 40)}
            className="max-h-[min(62vh,640px)] min-h-40 overflow-auto bg-sunken py-2"
          >
            <div className="relative font-mono text-[12.5px] leading-[21px]" style={{ height: rows.getTotalSize() }}>
              {rows.getVirtualItems().map((item) => {
                const line = state.lines[item.index]!
                const name = levelOf(line.level)
                return (
                  <div key={line.id} ref={rows.measureElement} data-index={item.index} className={`absolute top-0 left-0 flex gap-3 px-4 hover:bg-line/40 ${levelTone[name]} ${wrap ? 'w-full' : 'min-w-full'}`} style={{ transform: `translateY(${item.start}px)` }}>
                    <span className="hidden text-muted select-none tabular sm:inline" title={line.timestamp}>{clock(Date.parse(line.timestamp), zone)}</span>
                    <span className={`w-[4.2rem] shrink-0 select-none ${name === 'debug' || name === 'info' ? 'text-muted' : 'font-semibold text-(--tone)'}`}>{name.toUpperCase()}</span>
                    {line.taskRunId && !taskId && taskName && <button type="button" onClick={() => onChange({ task: line.taskRunId! })} title={taskName(line.taskRunId)} className="hidden h-[21px] max-w-48 shrink-0 truncate text-left text-muted hover:underline md:inline">{shortTask(taskName(line.taskRunId) ?? 'task')}</button>}
                    <span className={wrap ? 'min-w-0 break-words whitespace-pre-wrap' : 'whitespace-pre'}>
                      {marks(line.message, find).map((m, i) => (m.hit ? <mark key={i} className="rounded-sm bg-accent text-on-accent">{m.text}</mark> : m.text))}
                    </span>
                  </div>
                )
              })}
            </div>
          </div>
          {!stick && <Button kind="primary" small className="absolute right-6 bottom-4 shadow-lg" onClick={() => setStick(true)}><ArrowDownToLine size={14} aria-hidden /> {following ? 'Follow' : 'To the end'}</Button>}
        </div>
      )}
      <p className="flex flex-wrap justify-between gap-2 border-t border-line px-4 py-1.5 text-[13px] text-muted tabular">
        <span>{state.lines.length.toLocaleString('en')} lines{filtered ? ' that match' : ''}</span>
        {following && <span>{stick ? 'following' : 'scrolled up: not following'}</span>}
      </p>
    </div>
  )
}
