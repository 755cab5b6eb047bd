import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { ChevronLeft, ChevronRight } from 'lucide-react'
import { useEffect, useMemo, useRef, useState } from 'react'
import { usePreferences } from '../app/preferences'
import { flowRunCount, flowRuns, history } from '../api/runs'
import { savedSearches, searchText } from '../api/system'
import { BulkBar } from '../components/bulk-bar'
import { Button, buttonClass } from '../components/button'
import { Empty, Failure, Loaded } from '../components/feedback'
import { FilterBar, useRunFilter } from '../components/filter-bar'
import { HistoryChart } from '../components/history-chart'
import { Card, Page } from '../components/page'
import { RunTable } from '../components/run-table'
import { TabLinks } from '../components/tabs'
import { scan, type RunFilter } from '../core/filter'
import { intervals } from '../core/history'

const perPage = 50

/** withoutFuture leaves out what has not come yet, unless the filter speaks of times or of scheduled runs itself. */
function shownRuns(filter: RunFilter, text: string, upcoming: boolean): RunFilter {
  const keys = scan(text).tokens.map((t) => t.key)
  const runs = filter.flow_runs ?? {}
  if (upcoming) return { ...filter, flow_runs: { ...runs, state: { type: { any_: ['SCHEDULED'] } } } }
  if (keys.some((k) => ['before', 'after', 'older', 'upcoming', 'state', 'id', 'name'].includes(k))) return filter
  return { ...filter, flow_runs: { ...runs, state: { type: { any_: ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] } } } }
}

export function Runs() {
  const { q = '', page = 1, tab } = useSearch({ from: '/shell/runs' })
  const navigate = useNavigate()
  const { filter, problems } = useRunFilter(q)
  const upcoming = tab === 'upcoming'
  const wanted = useMemo(() => shownRuns(filter, q, upcoming), [filter, q, upcoming])
  const { search: standard } = usePreferences()
  const saved = useQuery({ ...savedSearches(), enabled: standard !== '' })
  // Only an address that asks for nothing opens with the default; leaving it is asking for something.
  const fresh = useRef(q === '' && page === 1 && !tab)
  useEffect(() => {
    const found = saved.data?.find((s) => s.name === standard)
    if (fresh.current && found) void navigate({ to: '/runs', search: { q: searchText(found) }, replace: true })
    if (saved.data) fresh.current = false
  }, [saved.data, standard, navigate])
  const good = problems.length === 0
  const list = useQuery({ ...flowRuns(wanted, { limit: perPage, offset: (page - 1) * perPage, sort: upcoming ? 'NEXT_SCHEDULED_START_TIME_ASC' : 'EXPECTED_START_TIME_DESC' }), enabled: good })
  const count = useQuery({ ...flowRunCount(wanted), enabled: good })
  const hour = Math.floor(Date.now() / 900_000)
  const range = useMemo(() => {
    const time = filter.flow_runs?.expected_start_time as { after_?: string; before_?: string } | undefined
    const end = time?.before_ ? Date.parse(time.before_) : (hour + 1) * 900_000 + 6 * 3_600_000
    const cut = intervals({ start: time?.after_ ? Date.parse(time.after_) : Math.min(end, hour * 900_000) - 42 * 3_600_000, end })
    return { start: new Date(cut.start).toISOString(), end: new Date(cut.end).toISOString(), seconds: cut.seconds }
  }, [filter, hour])
  // The chart's own span stands for the times of the filter: its bars are whole, and the server answers them from its sums.
  const charted = useMemo(() => {
    const { expected_start_time: _, ...others } = filter.flow_runs ?? {}
    const { flow_runs: __, ...rest } = filter
    return Object.keys(others).length > 0 ? { ...rest, flow_runs: others } : rest
  }, [filter])
  const chart = useQuery({ ...history(charted, range), enabled: good })

  const [selected, setSelected] = useState(new Set<string>())
  const [all, setAll] = useState(false)
  const anchor = useRef<string | null>(null)
  useEffect(() => { setSelected(new Set()); setAll(false) }, [q, page, tab])
  const rows = list.data ?? []
  const select = (id: string, range: boolean) => {
    const next = new Set(selected)
    const ids = rows.map((r) => r.id)
    const [a, b] = [ids.indexOf(anchor.current ?? ''), ids.indexOf(id)]
    if (range && a >= 0) for (const i of ids.slice(Math.min(a, b), Math.max(a, b) + 1)) next.add(i)
    else if (next.has(id)) next.delete(id)
    else next.add(id)
    anchor.current = id
    setSelected(next)
    setAll(false)
  }
  const go = (change: { q?: string; page?: number }) => void navigate({ to: '/runs', search: { q: q || undefined, tab, page: page > 1 ? page : undefined, ...change } })
  const total = count.data
  const pages = total === undefined ? undefined : Math.max(1, Math.ceil(total / perPage))
  return (
    <Page title="Runs" wide>
      <div className="flex flex-col gap-4">
        <FilterBar text={q} onChange={(text) => go({ q: text || undefined, page: undefined })} />
        <Card>
          {chart.data ? (
            <HistoryChart history={chart.data} onBrush={(s) => {
              const tokens = scan(q).tokens.filter((t) => !['after', 'before', 'newer', 'older', 'upcoming'].includes(t.key))
              const iso = (at: number) => new Date(at).toISOString().slice(0, 19) + 'Z'
              go({ q: [...tokens.map((t) => q.slice(t.from, t.to)), `after:${iso(s.start)}`, `before:${iso(s.end)}`].join(' '), page: undefined })
            }} />
          ) : chart.error ? <Failure error={chart.error} /> : <span className="skeleton block h-44" />}
        </Card>
        <Card
          flush
          title={<TabLinks label="Runs" tabs={[{ label: 'Past and present', to: { to: '/runs', search: { q: q || undefined } }, active: !upcoming }, { label: 'Upcoming', to: { to: '/runs', search: { q: q || undefined, tab: 'upcoming' } }, active: upcoming }]} />}
          aside={<span className="text-[13px] text-muted tabular">{total === undefined ? '' : `${total.toLocaleString('en')} ${total === 1 ? 'run' : 'runs'}`}</span>}
        >
          {(selected.size > 0 || all) && <BulkBar ids={[...selected]} all={all} filter={wanted} total={total ?? 0} pageFull={rows.length > 0 && rows.every((r) => selected.has(r.id))} onAll={() => setAll(true)} onClear={() => { setSelected(new Set()); setAll(false) }} />}
          <div className={list.isPlaceholderData ? 'opacity-60' : ''} aria-busy={list.isPlaceholderData}>
            <Loaded query={list} rows={10}>
              {(runs) => runs.length > 0 ? (
                <RunTable runs={runs} upcoming={upcoming} selected={all ? new Set(runs.map((r) => r.id)) : selected} onSelect={select} onSelectAll={(on) => { setAll(false); setSelected(on ? new Set(runs.map((r) => r.id)) : new Set()) }} />
              ) : q ? (
                <Empty title="No run matches the filter" action={<Link to="/runs" className={buttonClass()}>Clear the filter</Link>} />
              ) : upcoming ? (
                <Empty title="Nothing is scheduled" command="sluice deployment schedule create my-flow/nightly --cron '0 6 * * *'">Deployments with a schedule have their next runs here.</Empty>
              ) : (
                <Empty title="No runs yet" command="sluice deployment run my-flow/my-deployment --watch">Run a deployment here with Quick Run, from the command line, or run a flow's script.</Empty>
              )}
            </Loaded>
          </div>
          {pages !== undefined && pages > 1 && (
            <nav aria-label="Pages" className="flex items-center justify-end gap-2 border-t border-line px-4 py-2">
              <span className="text-[13px] text-muted tabular">page {page.toLocaleString('en')} of {pages.toLocaleString('en')}</span>
              <Button small disabled={page <= 1} onClick={() => go({ page: page - 1 > 1 ? page - 1 : undefined })}><ChevronLeft size={14} aria-hidden /> Newer</Button>
              <Button small disabled={page >= pages} onClick={() => go({ page: page + 1 })}>Older <ChevronRight size={14} aria-hidden /></Button>
            </nav>
          )}
        </Card>
      </div>
    </Page>
  )
}
