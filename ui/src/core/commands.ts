// Commands to type, quoted for a POSIX shell.
import { printJSON } from './json'

/** quote makes one word of anything. */
export const quote = (word: string) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`)

export const agentStart = (queue: string) => `sluice agent start ${quote(queue)}`

export interface CustomRun {
  name?: string
  parameters: Record<string, unknown>
  tags: string[]
  /** RFC 3339; none is now */
  at?: string
  idempotencyKey?: string
}

const json = (v: unknown) => printJSON(v, 0)

/** runCommand is the CLI's way to the same run; what the CLI has no flag for goes through `sluice api`. */
export function runCommand(deployment: string, deploymentId: string, run: CustomRun): string {
  if (run.tags.length > 0 || run.at || run.idempotencyKey) {
    return `sluice api POST /deployments/${deploymentId}/create_flow_run --data ${quote(json(runBody(run)))}`
  }
  const parts = ['sluice deployment run', quote(deployment)]
  if (run.name) parts.push('--name', quote(run.name))
  if (Object.keys(run.parameters).length > 0) parts.push('--params', quote(json(run.parameters)))
  return parts.join(' ')
}

export function runBody(run: CustomRun) {
  return {
    ...(run.name ? { name: run.name } : {}),
    parameters: run.parameters,
    ...(run.tags.length > 0 ? { tags: run.tags } : {}),
    ...(run.idempotencyKey ? { idempotency_key: run.idempotencyKey } : {}),
    state: { type: 'SCHEDULED' as const, ...(run.at ? { state_details: { scheduled_time: run.at } } : {}) },
  }
}

export function curlCommand(apiURL: string, deploymentId: string, run: CustomRun, authenticated: boolean): string {
  const auth = authenticated ? ` -H "Authorization: Bearer $SLUICE_API_KEY"` : ''
  return `curl -X POST ${quote(`${apiURL}/deployments/${deploymentId}/create_flow_run`)} -H 'Content-Type: application/json'${auth} -d ${quote(json(runBody(run)))}`
}
