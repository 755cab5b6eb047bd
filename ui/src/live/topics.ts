// Which queries an event makes old.
import type { ServerEvent } from './sse'

export type Topic = 'flow_run' | 'task_run' | 'deployment' | 'work_queue' | 'agent' | 'job' | 'logs'

/** Interest is what a query depends on; with an id only what happens to that object counts. */
export interface Interest {
  topics: Topic[]
  flowRunId?: string
  deploymentId?: string
  /** reads again only the objects with these ids; without it everything that the query holds is read again */
  patch?: (ids: string[]) => Promise<void>
}

interface Data {
  id?: string
  flow_run_id?: string
  deployment_id?: string | null
}

/** idOf is the object that an event tells of. */
export function idOf(event: ServerEvent): string | undefined {
  try {
    return (JSON.parse(event.data) as Data).id
  } catch {
    return undefined
  }
}

export function concerns(interest: Interest, event: ServerEvent): boolean {
  if (!interest.topics.includes(event.name as Topic)) return false
  let data: Data = {}
  try {
    data = JSON.parse(event.data) as Data
  } catch {
    return true
  }
  if (interest.flowRunId) return (event.name === 'flow_run' ? data.id : data.flow_run_id) === interest.flowRunId
  if (interest.deploymentId) return (event.name === 'deployment' ? data.id : data.deployment_id) === interest.deploymentId
  return true
}
