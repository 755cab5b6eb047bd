// What runs show to people: tables, texts, links.
import { queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { find, read } from './fetch'

export type Artifact = Camel<Wire['Artifact']>

/** artifactsOf are those of a flow run, the newest first, without what is in them. */
export const artifactsOf = (runId: string) =>
  queryOptions({
    queryKey: ['artifacts', runId],
    queryFn: ({ signal }) => find<Wire['Artifact'][]>('/artifacts/filter', { flow_run_id: runId, limit: 200 }, { signal }),
    meta: { live: { topics: ['task_run', 'flow_run'], flowRunId: runId } },
  })

export const artifacts = (key: string, offset: number, limit: number) =>
  queryOptions({ queryKey: ['artifacts', 'all', key, offset, limit], queryFn: ({ signal }) => find<Wire['Artifact'][]>('/artifacts/filter', { ...(key ? { key } : {}), offset, limit }, { signal }), meta: { live: { topics: ['flow_run'] } } })

// It never changes: what is shown again is another artifact.
export const artifact = (id: string) => queryOptions({ queryKey: ['artifact', id], queryFn: ({ signal }) => read<Wire['Artifact']>(`/artifacts/${id}`, { signal }), staleTime: Infinity })
