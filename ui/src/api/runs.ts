// Flow runs and task runs.
import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { RunFilter } from '../core/filter'
import { inParts, merged } from '../core/merge'
import type { Wire } from '../wire/types'
import { queries } from './client'
import { find, findPage, read, write } from './fetch'

export type FlowRun = Camel<Wire['FlowRun']>
export type TaskRun = Camel<Wire['TaskRun']>
export type RunState = Camel<Wire['State']>
export type Log = Camel<Wire['Log']>
export type LogPage = Camel<Wire['LogPage']>
export type Explanation = Camel<Wire['Explanation']>
export type GraphNode = Camel<Wire['GraphNode']>
export type HistoryInterval = Camel<Wire['HistoryInterval']>
export type RunSort = 'EXPECTED_START_TIME_DESC' | 'EXPECTED_START_TIME_ASC' | 'NEXT_SCHEDULED_START_TIME_ASC' | 'END_TIME_DESC' | 'NAME_ASC' | 'NAME_DESC' | 'ID_DESC'

export const flowRun = (id: string) =>
  queryOptions({ queryKey: ['flow-run', id], queryFn: ({ signal }) => read<Wire['FlowRun']>(`/flow_runs/${id}`, { signal }), meta: { live: { topics: ['flow_run'], flowRunId: id } } })

export const flowRuns = (filter: RunFilter, page: { limit: number; offset?: number; sort?: RunSort }) =>
  queryOptions({
    queryKey: ['flow-runs', filter, page],
    queryFn: ({ signal }) => find<Wire['FlowRun'][]>('/flow_runs/filter', { sort: 'EXPECTED_START_TIME_DESC', ...filter, ...page }, { signal }),
    placeholderData: keepPreviousData,
    meta: { live: { topics: ['flow_run'] } },
  })

export const flowRunCount = (filter: RunFilter) =>
  queryOptions({
    queryKey: ['flow-run-count', filter],
    queryFn: ({ signal }) => find<number>('/flow_runs/count', filter, { signal }),
    placeholderData: keepPreviousData,
    meta: { live: { topics: ['flow_run'] } },
  })

export interface Range {
  start: string
  end: string
  seconds: number
}

export const history = (filter: RunFilter, range: Range) =>
  queryOptions({
    queryKey: ['history', filter, range],
    queryFn: ({ signal }) =>
      find<Wire['HistoryInterval'][]>('/flow_runs/history', { ...filter, history_start: range.start, history_end: range.end, history_interval_seconds: range.seconds }, { signal }),
    placeholderData: keepPreviousData,
    meta: { live: { topics: ['flow_run'] } },
  })

export const runStates = (id: string) =>
  queryOptions({
    queryKey: ['flow-run-states', id],
    queryFn: ({ signal }) => read<Wire['State'][]>('/flow_run_states', { query: { flow_run_id: id }, signal }),
    meta: { live: { topics: ['flow_run'], flowRunId: id } },
  })

export const explanation = (id: string) =>
  queryOptions({
    queryKey: ['explain', id],
    queryFn: ({ signal }) => read<Wire['Explanation']>(`/flow_runs/${id}/explain`, { signal }),
    // What it judges (agents, limits, other runs) has events of its own; these reach it too late at worst by this.
    refetchInterval: 5_000,
    meta: { live: { topics: ['flow_run', 'agent', 'work_queue'] } },
  })

export const runGraph = (id: string) =>
  queryOptions({ queryKey: ['graph', id], queryFn: ({ signal }) => read<Wire['GraphNode'][]>(`/flow_runs/${id}/graph`, { signal }), meta: { live: { topics: ['task_run'], flowRunId: id } } })

const ofRun = (id: string) => ({ flow_runs: { id: { any_: [id] } } })

export const taskRuns = (runId: string, limit = 200, offset = 0) =>
  queryOptions({
    queryKey: ['task-runs', runId, limit, offset],
    queryFn: ({ signal }) => find<Wire['TaskRun'][]>('/task_runs/filter', { ...ofRun(runId), sort: 'EXPECTED_START_TIME_ASC', limit, offset }, { signal }),
    placeholderData: keepPreviousData,
    meta: { live: { topics: ['task_run'], flowRunId: runId } },
  })

/** taskRunsById are those of the ids that are there, 200 at most. */
export const taskRunsById = (ids: string[], signal?: AbortSignal) =>
  find<Wire['TaskRun'][]>('/task_runs/filter', { task_runs: { id: { any_: ids } }, limit: 200 }, { signal })

const allTaskRunsKey = (runId: string) => ['all-task-runs', runId] as const

/** allTaskRuns reads them page after page, by cursor; a run may have ten thousand. After that only those that change are read again. */
export const allTaskRuns = (runId: string) =>
  queryOptions({
    queryKey: allTaskRunsKey(runId),
    queryFn: async ({ signal }) => {
      const all: TaskRun[] = []
      let cursor: string | null = ''
      do {
        const page: { items: TaskRun[]; next: string | null } = await findPage<Wire['TaskRun'][]>('/task_runs/filter', { ...ofRun(runId), limit: 200 }, cursor, signal)
        all.push(...page.items)
        cursor = page.next
      } while (cursor !== null && all.length < mostTaskRuns)
      return all
    },
    staleTime: 5_000,
    // Comparing ten thousand objects with those of before costs more than drawing the few that are in view.
    structuralSharing: false,
    meta: {
      live: {
        topics: ['task_run'], flowRunId: runId,
        patch: async (ids) => {
          const found = (await Promise.all(inParts(ids, 200).map((part) => taskRunsById(part)))).flat()
          queries.setQueryData<TaskRun[]>(allTaskRunsKey(runId), (old) => old && merged(old, ids, found, mostTaskRuns))
        },
      },
    },
  })

const mostTaskRuns = 20_000

export const taskRunCount = (runId: string, types?: string[]) =>
  queryOptions({
    queryKey: ['task-run-count', runId, types],
    queryFn: ({ signal }) => find<number>('/task_runs/count', { ...ofRun(runId), ...(types ? { task_runs: { state: { type: { any_: types } } } } : {}) }, { signal }),
    meta: { live: { topics: ['task_run'], flowRunId: runId } },
  })

export const taskRun = (id: string) =>
  queryOptions({ queryKey: ['task-run', id], queryFn: ({ signal }) => read<Wire['TaskRun']>(`/task_runs/${id}`, { signal }), meta: { live: { topics: ['task_run'] } } })

export const taskRunStates = (id: string) =>
  queryOptions({
    queryKey: ['task-run-states', id],
    queryFn: ({ signal }) => read<Wire['State'][]>('/task_run_states', { query: { task_run_id: id }, signal }),
    meta: { live: { topics: ['task_run'] } },
  })

/** callers are the task runs of a run that called flows. */
export const callers = (runId: string) =>
  queryOptions({
    queryKey: ['callers', runId],
    queryFn: ({ signal }) => find<Wire['TaskRun'][]>('/task_runs/filter', { ...ofRun(runId), task_runs: { subflow_runs: { exists_: true } }, limit: 200 }, { signal }),
    meta: { live: { topics: ['task_run'], flowRunId: runId } },
  })

/** subflows are the runs that task runs of this one started. */
export const subflows = (taskRunIds: string[]) =>
  queryOptions({
    queryKey: ['subflows', taskRunIds],
    queryFn: ({ signal }) => find<Wire['FlowRun'][]>('/flow_runs/filter', { flow_runs: { parent_task_run_id: { any_: taskRunIds } }, limit: 200 }, { signal }),
    enabled: taskRunIds.length > 0,
    meta: { live: { topics: ['flow_run'] } },
  })

export interface LogCriteria {
  search?: string
  regex?: string
  level?: number
  taskRunId?: string
}

const logQuery = (c: LogCriteria) => ({ search: c.search, regex: c.regex, level: c.level || undefined, task_run_id: c.taskRunId })

export const logPage = (runId: string, c: LogCriteria, page: { cursor?: string; at?: string; limit?: number; order?: 'asc' | 'desc' }, signal?: AbortSignal) =>
  read<Wire['LogPage']>(`/flow_runs/${runId}/logs`, { query: { ...logQuery(c), ...page }, signal })

export function logDownloadPath(runId: string, c: LogCriteria, format: 'text' | 'ndjson'): string {
  const q = new URLSearchParams({ format })
  for (const [k, v] of Object.entries(logQuery(c))) if (v) q.set(k, String(v))
  return `/flow_runs/${runId}/logs/download?${q}`
}

export const cancelRun = (id: string) => write('POST', `/flow_runs/${id}/cancel`, {})
export const retryRun = (id: string) => write<Wire['FlowRun']>('POST', `/flow_runs/${id}/retry`, {})
export const rerunRun = (id: string) => write<Wire['FlowRun']>('POST', `/flow_runs/${id}/rerun`, {})
/** setRunState sets a state by hand; force is against the rules too. */
export const setRunState = (id: string, r: Pick<JobRequest, 'state' | 'message' | 'force'>) => write<Wire['OrchestrationResult']>('POST', `/flow_runs/${id}/set_state`, { state: { ...r.state, message: r.message }, force: r.force ?? false })
export const setTaskRunState = (id: string, r: Pick<JobRequest, 'state' | 'message' | 'force'>) => write<Wire['OrchestrationResult']>('POST', `/task_runs/${id}/set_state`, { state: { ...r.state, message: r.message }, force: r.force ?? false })
export const deleteRun = (id: string) => write('DELETE', `/flow_runs/${id}`)

export type Job = Camel<Wire['Job']>

export interface JobRequest {
  action: 'cancel' | 'retry' | 'delete' | 'set_state'
  filter?: RunFilter
  all?: boolean
  force?: boolean
  dry_run?: boolean
  message?: string
  state?: { type: string; name?: string }
}

export const createJob = (request: JobRequest) => write<Wire['Job']>('POST', '/jobs', request)
export const previewJob = (request: JobRequest) => write<Wire['JobPreview']>('POST', '/jobs', { ...request, dry_run: true })
export const job = (id: string) => queryOptions({ queryKey: ['job', id], queryFn: ({ signal }) => read<Wire['Job']>(`/jobs/${id}`, { signal }), meta: { live: { topics: ['job'] } } })
export const jobs = () => queryOptions({ queryKey: ['jobs'], queryFn: ({ signal }) => find<Wire['Job'][]>('/jobs/filter', { limit: 20 }, { signal }), meta: { live: { topics: ['job'] } } })
export const cancelJob = (id: string) => write<Wire['Job']>('POST', `/jobs/${id}/cancel`)
