// The cluster, who may use it, and what it keeps besides runs.
import { queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { find, read, write } from './fetch'

export type ClusterHealth = Camel<Wire['ClusterHealth']>
export type Cluster = Camel<Wire['Cluster']>
export type WhoAmI = Camel<Wire['WhoAmI']>
export type Token = Camel<Wire['Token']>
export type AuditRecord = Camel<Wire['AuditRecord']>
export type Block = Camel<Wire['Block']>
export type BlockSpec = Camel<Wire['BlockSpec']>
export type ConcurrencyLimit = Camel<Wire['ConcurrencyLimit']>
export type SavedSearch = Camel<Wire['SavedSearch']>

export const whoAmI = () => queryOptions({ queryKey: ['whoami'], queryFn: ({ signal }) => read<Wire['WhoAmI']>('/whoami', { signal }), staleTime: 60_000 })
export const version = () => queryOptions({ queryKey: ['version'], queryFn: ({ signal }) => read<string>('/admin/version', { signal }), staleTime: 300_000 })
export const settings = () => queryOptions({ queryKey: ['settings'], queryFn: async ({ signal }) => read<Record<string, never>>('/admin/settings', { signal }), staleTime: 60_000 })

export const clusterHealth = () =>
  queryOptions({ queryKey: ['cluster-health'], queryFn: ({ signal }) => read<Wire['ClusterHealth']>('/cluster/health', { signal }), refetchInterval: 5_000 })
export const cluster = () => queryOptions({ queryKey: ['cluster'], queryFn: ({ signal }) => read<Wire['Cluster']>('/cluster', { signal }), refetchInterval: 10_000 })
export const transferLeadership = (to?: string) => write('POST', '/cluster/transfer_leadership', to ? { to } : {})
export const removeMember = (id: string) => write('DELETE', `/cluster/members/${id}`)

export const tokens = (all: boolean) => queryOptions({ queryKey: ['tokens', all], queryFn: ({ signal }) => find<Wire['Token'][]>('/tokens/filter', { all }, { signal }) })
export const createToken = (fields: { name: string; role: string; expires?: string | null; note?: string | null }) => write<Wire['TokenCreated']>('POST', '/tokens', fields)
export const revokeToken = (id: string) => write('DELETE', `/tokens/${id}`)

export const audit = (filter: { actor?: string; outcome?: string; action?: string; before?: string }) =>
  queryOptions({ queryKey: ['audit', filter], queryFn: ({ signal }) => find<Wire['AuditPage']>('/audit/filter', { ...filter, limit: 100 }, { signal }) })

export const blocks = () => queryOptions({ queryKey: ['blocks'], queryFn: ({ signal }) => find<Wire['Block'][]>('/blocks/filter', { limit: 200 }, { signal }) })
export const blockSpecs = () => queryOptions({ queryKey: ['block-specs'], queryFn: ({ signal }) => find<Wire['BlockSpec'][]>('/block_specs/filter', { limit: 200 }, { signal }), staleTime: 60_000 })
export const defaultStorage = () =>
  queryOptions({ queryKey: ['default-storage'], queryFn: ({ signal }) => find<Wire['Block'] | null>('/blocks/get_default_storage_block', undefined, { signal }) })
export const createBlock = (fields: { name: string; block_spec_id: string; data: Record<string, unknown> }) => write<Wire['Block']>('POST', '/blocks', fields)
export const deleteBlock = (id: string) => write('DELETE', `/blocks/${id}`)
export const setDefaultStorage = (id: string) => write('POST', `/blocks/${id}/set_default_storage_block`)
export const clearDefaultStorage = () => write('POST', '/blocks/clear_default_storage_block')

export const limits = () =>
  queryOptions({ queryKey: ['limits'], queryFn: ({ signal }) => find<Wire['ConcurrencyLimit'][]>('/concurrency_limits/filter', { limit: 200 }, { signal }), meta: { live: { topics: ['task_run'] } } })
export const putLimit = (tag: string, limit: number) => write<Wire['ConcurrencyLimit']>('POST', '/concurrency_limits', { tag, concurrency_limit: limit })
export const deleteLimit = (id: string) => write('DELETE', `/concurrency_limits/${id}`)

export const savedSearches = () => queryOptions({ queryKey: ['saved-searches'], queryFn: ({ signal }) => find<Wire['SavedSearch'][]>('/saved_searches/filter', { limit: 200 }, { signal }), staleTime: 30_000 })
/** saveSearch keeps a search's text; Orion's objects have room for more than that. */
export const saveSearch = (name: string, text: string) =>
  write<Wire['SavedSearch']>('PUT', '/saved_searches', { name, filters: [{ object: 'flow_run', property: 'query', type: 'text', operation: 'matches', value: text }] })
export const deleteSearch = (id: string) => write('DELETE', `/saved_searches/${id}`)
export const searchText = (s: SavedSearch): string => {
  const f = s.filters.find((f) => f.property === 'query')
  return typeof f?.value === 'string' ? f.value : ''
}
