// Addresses that are told of states, and what was told.
import { queryOptions } from '@tanstack/react-query'
import type { Camel } from '../core/camel'
import type { Wire } from '../wire/types'
import { read, write } from './fetch'

export type Webhook = Camel<Wire['Webhook']>
export type Delivery = Camel<Wire['WebhookDelivery']>
export type WebhookFields = Wire['WebhookUpdate']

// Deliveries are no events.
const often = 5_000

export const webhooks = () => queryOptions({ queryKey: ['webhooks'], queryFn: ({ signal }) => read<Wire['Webhook'][]>('/webhooks', { signal }), refetchInterval: often })
export const webhook = (id: string) => queryOptions({ queryKey: ['webhook', id], queryFn: ({ signal }) => read<Wire['Webhook']>(`/webhooks/${id}`, { signal }), refetchInterval: often })
export const deliveries = (id: string) => queryOptions({ queryKey: ['deliveries', id], queryFn: ({ signal }) => read<Wire['WebhookDelivery'][]>(`/webhooks/${id}/deliveries`, { query: { limit: 200 }, signal }), refetchInterval: often })

export const createWebhook = (fields: Wire['WebhookCreate']) => write<Wire['Webhook']>('POST', '/webhooks', fields)
export const updateWebhook = (id: string, fields: WebhookFields) => write<Wire['Webhook']>('PATCH', `/webhooks/${id}`, fields)
export const deleteWebhook = (id: string) => write('DELETE', `/webhooks/${id}`)
export const testWebhook = (id: string) => write<Wire['WebhookDelivery']>('POST', `/webhooks/${id}/test`)
export const redeliver = (id: string, delivery: string) => write<Wire['WebhookDelivery']>('POST', `/webhooks/${id}/deliveries/${delivery}/redeliver`)
