// The stream of this tab, and what its events do to the queries.
import type { Query } from '@tanstack/react-query'
import { useEffect, useSyncExternalStore } from 'react'
import { queries } from '../api/client'
import { address, headers } from '../api/fetch'
import { concerns, idOf } from './topics'
import type { ServerEvent } from './sse'
import { LiveStream, type Status } from './stream'

const topics = 'flow_run,task_run,deployment,work_queue,agent,job'
/** A hidden tab keeps its stream for this long: people switch to and fro. */
const hiddenFor = 20_000
/** A query is read again at most this often, however much happens, and takes at most this share of the time. */
const calm = 1_000
const share = 10
/** A computer that slept while a query was read is no reason to wait longer than this. */
const longest = 15_000

let status: Status = { mark: 'paused', since: Date.now() }
const statusListeners = new Set<() => void>()
const logListeners = new Map<string, Set<() => void>>()
const due = new Map<string, ReturnType<typeof setTimeout>>()
/** how long a query last took, in ms */
const costs = new Map<string, number>()
/** objects that have changed, of queries that read only those again */
const changed = new Map<string, Set<string>>()

function refresh(events: ServerEvent[]) {
  for (const query of queries.getQueryCache().getAll()) {
    const interest = query.meta?.live
    const concerned = interest ? events.filter((e) => concerns(interest, e)) : []
    if (!interest || concerned.length === 0) continue
    if (!query.isActive()) {
      query.invalidate()
      continue
    }
    if (interest.patch) {
      const ids = changed.get(query.queryHash) ?? new Set()
      for (const e of concerned) {
        const id = idOf(e)
        if (id) ids.add(id)
      }
      changed.set(query.queryHash, ids)
    }
    schedule(query)
  }
}

function schedule(query: Query) {
  const hash = query.queryHash
  if (due.has(hash)) return
  const wait = Math.max(0, query.state.dataUpdatedAt + Math.min(longest, Math.max(calm, share * (costs.get(hash) ?? 0))) - Date.now())
  due.set(hash, setTimeout(() => void again(query), wait))
}

/** again reads a query again, or what has changed of it. */
async function again(query: Query) {
  const hash = query.queryHash
  due.delete(hash)
  const begin = Date.now()
  const patch = query.meta?.live?.patch
  const ids = [...(changed.get(hash) ?? [])]
  try {
    if (!patch || query.state.data === undefined) {
      changed.delete(hash)
      // One that is being read may have been answered before the event: it is read again.
      await queries.invalidateQueries({ queryKey: query.queryKey, exact: true })
    } else if (query.state.fetchStatus !== 'idle') {
      due.set(hash, setTimeout(() => void again(query), calm / 2))
      return
    } else {
      changed.delete(hash)
      await patch(ids)
    }
  } catch {
    await queries.invalidateQueries({ queryKey: query.queryKey, exact: true })
  }
  costs.set(hash, Date.now() - begin)
}

const stream = new LiveStream({
  url: (from, logsOf) => {
    const q = new URLSearchParams({ topic: topics, deleted: 'true' })
    if (from) q.set('from', from)
    if (logsOf.length > 0) q.set('logs_of', logsOf.join(','))
    return address(`api/events?${q}`)
  },
  open: (url, signal) => fetch(url, { signal, headers: { Accept: 'text/event-stream', ...headers() }, credentials: 'same-origin', cache: 'no-store' }),
  onEvents: (events) => {
    refresh(events)
    for (const e of events) {
      if (e.name !== 'logs') continue
      for (const l of logListeners.get((JSON.parse(e.data) as { flow_run_id: string }).flow_run_id) ?? []) l()
    }
  },
  onGap: () => {
    void queries.invalidateQueries()
    for (const ls of logListeners.values()) for (const l of ls) l()
  },
  onStatus: (s) => {
    const back = s.mark === 'live' && status.mark !== 'live'
    status = s
    for (const l of statusListeners) l()
    // Lines that came while there was no stream are told of by it; those of a stream that was opened anew for this run are not.
    if (back) for (const ls of logListeners.values()) for (const l of ls) l()
  },
})

let hiding: ReturnType<typeof setTimeout> | null = null

function visibility() {
  if (hiding) clearTimeout(hiding)
  hiding = null
  if (document.visibilityState === 'hidden') hiding = setTimeout(() => stream.pause(), hiddenFor)
  else stream.start()
}

/** startLive opens the stream and keeps it while the tab is seen. */
export function startLive() {
  visibility()
  document.addEventListener('visibilitychange', visibility)
}

export function stopLive() {
  document.removeEventListener('visibilitychange', visibility)
  stream.pause()
}

export function useLiveStatus(): Status {
  return useSyncExternalStore(
    (l) => {
      statusListeners.add(l)
      return () => statusListeners.delete(l)
    },
    () => status,
  )
}

/** useLogEvents calls when a run has, or may have, new log lines. */
export function useLogEvents(runId: string, call: () => void) {
  useEffect(() => {
    const set = logListeners.get(runId) ?? new Set()
    logListeners.set(runId, set.add(call))
    const stop = stream.followLogs(runId)
    return () => {
      stop()
      set.delete(call)
      if (set.size === 0) logListeners.delete(runId)
    }
  }, [runId, call])
}
