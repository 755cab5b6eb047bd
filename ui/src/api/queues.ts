// Work queues and the agents that serve them.
import { queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { find, read, write } from './fetch'

export type WorkQueue = Camel<Wire['WorkQueue']>
export type Agent = Camel<Wire['Agent']>
export type QueueSlots = Camel<Wire['QueueSlots']>

export const workQueues = () =>
  queryOptions({ queryKey: ['work-queues'], queryFn: ({ signal }) => find<Wire['WorkQueue'][]>('/work_queues/filter', { limit: 200 }, { signal }), meta: { live: { topics: ['work_queue'] } } })

export const workQueue = (id: string) =>
  queryOptions({ queryKey: ['work-queue', id], queryFn: ({ signal }) => read<Wire['WorkQueue']>(`/work_queues/${id}`, { signal }), meta: { live: { topics: ['work_queue', 'flow_run'] } } })

export const queueSlots = (id: string) =>
  queryOptions({ queryKey: ['queue-slots', id], queryFn: ({ signal }) => read<Wire['QueueSlots']>(`/work_queues/${id}/slots`, { signal }), meta: { live: { topics: ['flow_run', 'work_queue'] } } })

export const agents = () =>
  queryOptions({
    queryKey: ['agents'],
    queryFn: ({ signal }) => find<Wire['Agent'][]>('/agents/filter', { limit: 200 }, { signal }),
    // Heartbeats are no events.
    refetchInterval: 5_000,
    meta: { live: { topics: ['agent'] } },
  })

export const drainAgent = (id: string, on: boolean) => write<Wire['Agent']>('POST', `/agents/${id}/${on ? 'drain' : 'undrain'}`)
export const forgetAgent = (id: string) => write('DELETE', `/agents/${id}`)

export interface QueueFields {
  name: string
  description: string
  is_paused: boolean
  concurrency_limit: number | null
  filter: { tags: string[] | null; deployment_ids: string[] | null; flow_runner_types: string[] | null }
}

export const createQueue = (fields: QueueFields) => write<Wire['WorkQueue']>('POST', '/work_queues', fields)
export const updateQueue = (id: string, fields: Partial<QueueFields>) => write('PATCH', `/work_queues/${id}`, fields)
export const deleteQueue = (id: string) => write('DELETE', `/work_queues/${id}`)
