// Flows and their deployments.
import { queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { find, findPage, read, write } from './fetch'
import type { FlowRun } from './runs'

export type Flow = Camel<Wire['Flow']>
export type Deployment = Camel<Wire['Deployment']>
export type Schedule = Camel<Wire['Schedule']>
export type ScheduleEntry = Camel<Wire['ScheduleEntry']>

/** Most of what is listed by page after page: beyond this, lists are searched and not read. */
const most = 2000

async function everything<T>(path: string, body: object, signal: AbortSignal): Promise<T[]> {
  const all: T[] = []
  let cursor: string | null = ''
  do {
    const page: { items: unknown; next: string | null } = await findPage<unknown>(path, { ...body, limit: 200 }, cursor, signal)
    all.push(...(page.items as T[]))
    cursor = page.next
  } while (cursor !== null && all.length < most)
  return all
}

export const flows = () =>
  queryOptions({ queryKey: ['flows'], queryFn: ({ signal }) => everything<Flow>('/flows/filter', {}, signal), staleTime: 10_000, meta: { live: { topics: ['deployment'] } } })

export const flow = (id: string) => queryOptions({ queryKey: ['flow', id], queryFn: ({ signal }) => read<Wire['Flow']>(`/flows/${id}`, { signal }), staleTime: 60_000 })
export const deleteFlow = (id: string) => write('DELETE', `/flows/${id}`)

export const deployments = (flowId?: string) =>
  queryOptions({
    queryKey: ['deployments', flowId ?? 'all'],
    queryFn: ({ signal }) => everything<Deployment>('/deployments/filter', flowId ? { flows: { id: { any_: [flowId] } } } : {}, signal),
    meta: { live: { topics: ['deployment'] } },
  })

export const deployment = (id: string) =>
  queryOptions({ queryKey: ['deployment', id], queryFn: ({ signal }) => read<Wire['Deployment']>(`/deployments/${id}`, { signal }), meta: { live: { topics: ['deployment'], deploymentId: id } } })

/** recentRuns are the last runs of each deployment that has begun, newest first. */
export const lastRuns = (deploymentId: string, limit = 20) =>
  queryOptions({
    queryKey: ['last-runs', deploymentId, limit],
    queryFn: ({ signal }) =>
      find<Wire['FlowRun'][]>('/flow_runs/filter', {
        flow_runs: { deployment_id: { any_: [deploymentId] }, state: { type: { any_: ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] } } }, sort: 'EXPECTED_START_TIME_DESC', limit,
      }, { signal }),
    staleTime: 5_000,
    meta: { live: { topics: ['flow_run'], deploymentId } },
  })

export const nextRun = (deploymentId: string) =>
  queryOptions({
    queryKey: ['next-run', deploymentId],
    queryFn: ({ signal }) => find<Wire['FlowRun'][]>('/flow_runs/filter', { flow_runs: { deployment_id: { any_: [deploymentId] }, state: { type: { any_: ['SCHEDULED'] }, name: { any_: ['Scheduled', 'Late'] } } }, sort: 'NEXT_SCHEDULED_START_TIME_ASC', limit: 1 }, { signal }),
    staleTime: 5_000,
    meta: { live: { topics: ['flow_run'], deploymentId } },
  })

export interface RunRequest {
  name?: string
  parameters?: Record<string, unknown>
  tags?: string[]
  idempotency_key?: string
  state: { type: 'SCHEDULED'; state_details?: { scheduled_time: string } }
}

/** runDeployment makes a run that is due at once unless the request names a time. */
export const runDeployment = (id: string, request: Partial<RunRequest> = {}): Promise<FlowRun> =>
  write<Wire['FlowRun']>('POST', `/deployments/${id}/create_flow_run`, { state: { type: 'SCHEDULED' }, ...request })

export const setSchedule = (id: string, active: boolean) => write('POST', `/deployments/${id}/set_schedule_${active ? 'active' : 'inactive'}`)
export const deleteDeployment = (id: string) => write('DELETE', `/deployments/${id}`)
export const updateDeployment = (id: string, change: object) => write<Wire['Deployment']>('PATCH', `/deployments/${id}`, change)
export const updateScheduleEntry = (id: string, scheduleId: string, change: { active?: boolean; schedule?: object }) => write('PATCH', `/deployments/${id}/schedules/${scheduleId}`, change)
export const createScheduleEntry = (id: string, schedule: object) => write('POST', `/deployments/${id}/schedules`, { schedule, active: true })
export const deleteScheduleEntry = (id: string, scheduleId: string) => write('DELETE', `/deployments/${id}/schedules/${scheduleId}`)
