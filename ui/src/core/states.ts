// States of runs, in the words and the order in which people think of them.

export type StateType = 'SCHEDULED' | 'PENDING' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLED'

export const stateTypes: StateType[] = ['SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED']

/** Tone is what a state looks like: each has a colour and an icon of its own. */
export type Tone = 'scheduled' | 'late' | 'pending' | 'running' | 'cancelling' | 'completed' | 'failed' | 'crashed' | 'cancelled' | 'unknown'

export interface StateLook {
  tone: Tone
  label: string
}

const byName: Record<string, Tone> = { Late: 'late', Crashed: 'crashed', TimedOut: 'failed', Cancelling: 'cancelling', Cached: 'completed' }

const byType: Record<StateType, Tone> = {
  SCHEDULED: 'scheduled', PENDING: 'pending', RUNNING: 'running', COMPLETED: 'completed', FAILED: 'failed', CANCELLED: 'cancelled',
}

const labels: Record<string, string> = { AwaitingRetry: 'Awaiting retry', TimedOut: 'Timed out', NotReady: 'Not ready' }

/** lookOf is what a state looks like; a name of the type's own says no more than the type. */
export function lookOf(type: string | null | undefined, name?: string | null): StateLook {
  const tone = (name && byName[name]) || byType[type as StateType] || 'unknown'
  const word = name || (type ? type[0] + type.slice(1).toLowerCase() : 'No state')
  return { tone, label: labels[word] ?? word }
}

/** tones in the order in which a chart stacks them, from below. */
export const tones: Tone[] = ['completed', 'running', 'cancelling', 'failed', 'crashed', 'cancelled', 'pending', 'late', 'scheduled', 'unknown']

export const toneLabel: Record<Tone, string> = {
  completed: 'Completed', running: 'Running', cancelling: 'Cancelling', failed: 'Failed', crashed: 'Crashed', cancelled: 'Cancelled', pending: 'Pending', late: 'Late',
  scheduled: 'Scheduled', unknown: 'Other',
}

export const isTerminal = (type: string | null | undefined) => type === 'COMPLETED' || type === 'FAILED' || type === 'CANCELLED'
/** shortTask is a task run's name without the key of its task: extract-4cd1b201-0 is extract-0. */
export const shortTask = (name: string) => name.replace(/-[0-9a-f]{8}(-\d+)$/, '$1')
/** isWaiting is what explain has something to say about. */
export const isWaiting = (type: string | null | undefined) => type === 'SCHEDULED' || type === 'PENDING'
