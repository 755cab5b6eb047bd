// The text of the filter bar: tokens like state:failed|crashed, read into the criteria of the API and written back.

export interface RunFilter {
  flow_runs?: Record<string, unknown>
  flows?: Record<string, unknown>
  deployments?: Record<string, unknown>
  task_runs?: Record<string, unknown>
}

export type Key = 'state' | 'flow' | 'deployment' | 'name' | 'tag' | 'queue' | 'after' | 'before' | 'newer' | 'older' | 'upcoming' | 'version' | 'id' | 'param'

export interface Token {
  key: Key
  /** of the parameter, for the key param */
  of?: string
  values: string[]
  /** where it stands in the text */
  from: number
  to: number
}

export interface Problem {
  message: string
  from: number
  to: number
}

const aliases: Record<string, Key> = {
  s: 'state', state: 'state', flow_run_state: 'state', fr_state: 'state', frs: 'state', flow: 'flow', f: 'flow', deployment: 'deployment', d: 'deployment', name: 'name', flow_run: 'name', fr: 'name', tag: 'tag', t: 'tag', queue: 'queue', q: 'queue', after: 'after',
  flow_run_after: 'after', fra: 'after', before: 'before', flow_run_before: 'before', frb: 'before', newer: 'newer', flow_run_newer: 'newer', frn: 'newer', older: 'older', flow_run_older: 'older', fro: 'older', upcoming: 'upcoming', flow_run_upcoming: 'upcoming', fru: 'upcoming', version: 'version', v: 'version', id: 'id', param: 'param',
}

export const keys: { key: Key; example: string; about: string }[] = [
  { key: 'state', example: 'state:failed|crashed', about: 'in one of these states' },
  { key: 'flow', example: 'flow:etl', about: 'of the flow of that name' },
  { key: 'deployment', example: 'deployment:nightly', about: 'of the deployment of that name' },
  { key: 'name', example: 'name:tan-lion', about: 'the run of that name' },
  { key: 'tag', example: 'tag:prod', about: 'with the tag; several tags: with all of them' },
  { key: 'queue', example: 'queue:default', about: 'last taken from that work queue' },
  { key: 'newer', example: 'newer:6h', about: 'expected to start within that time' },
  { key: 'older', example: 'older:7d', about: 'expected to start before that' },
  { key: 'after', example: 'after:2026-01-31', about: 'expected to start after that moment' },
  { key: 'before', example: 'before:2026-01-31T12:00', about: 'expected to start before that moment' },
  { key: 'upcoming', example: 'upcoming:1d', about: 'will start within that time' },
  { key: 'version', example: 'version:2', about: 'of that version of the flow' },
  { key: 'param', example: 'param.name=Leo', about: 'whose parameter has that value' },
]

// Names of states that are not their type's own, and what people call types.
const stateNames: Record<string, { type: string; name?: string }> = {
  scheduled: { type: 'SCHEDULED', name: 'Scheduled' }, late: { type: 'SCHEDULED', name: 'Late' }, awaitingretry: { type: 'SCHEDULED', name: 'AwaitingRetry' }, pending: { type: 'PENDING' }, running: { type: 'RUNNING' },
  cancelling: { type: 'RUNNING', name: 'Cancelling' }, retrying: { type: 'RUNNING', name: 'Retrying' }, completed: { type: 'COMPLETED' }, failed: { type: 'FAILED' },
  crashed: { type: 'FAILED', name: 'Crashed' }, timedout: { type: 'FAILED', name: 'TimedOut' }, cancelled: { type: 'CANCELLED' }, waiting: { type: 'SCHEDULED' },
}

export const stateWords = Object.keys(stateNames)

const secondsOf: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 7 * 86400 }

/** span reads 90s, 15m, 6h, 7d, 2w as seconds. */
export function span(text: string): number | null {
  const m = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(text)
  return m ? Number(m[1]) * secondsOf[m[2]!]! : null
}

/** scan cuts the text into tokens: words, whose quoted parts may hold spaces and bars. */
export function scan(text: string): { tokens: Token[]; problems: Problem[] } {
  const tokens: Token[] = []
  const problems: Problem[] = []
  const word = /(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+/g
  for (const m of text.matchAll(word)) {
    const raw = m[0]
    const at = { from: m.index, to: m.index + raw.length }
    const param = /^param\.([^=:|"]+)[=:]/.exec(raw)
    const prefix = param ?? /^([A-Za-z_]+):/.exec(raw)
    const key = param ? 'param' : prefix ? aliases[prefix[1]!.toLowerCase()] : 'name'
    if (key === 'param' && !param) {
      problems.push({ message: 'A parameter is named, like param.name=Leo.', ...at })
      continue
    }
    if (!key) {
      problems.push({ message: `"${prefix![1]}" is no criterion. Known are ${keys.map((k) => k.key).join(', ')}.`, ...at })
      continue
    }
    const values = (prefix ? raw.slice(prefix[0].length) : raw).match(/(?:[^|"]|"(?:[^"\\]|\\.)*"?)+/g)?.map(unquote).filter((v) => v !== '') ?? []
    if (values.length === 0) problems.push({ message: `${prefix?.[0] ?? raw} needs a value, like ${keys.find((k) => k.key === key)?.example}.`, ...at })
    else tokens.push({ key, ...(param ? { of: param[1]! } : {}), values, ...at })
  }
  return { tokens, problems }
}

function unquote(v: string): string {
  return v.replace(/"((?:[^"\\]|\\.)*)"?/g, (_, inner: string) => inner.replace(/\\(.)/g, '$1'))
}

const quoted = (v: string) => (/[\s|"\\]/.test(v) || v === '' || /^([a-z_]+:|param\.)/i.test(v) ? `"${v.replace(/["\\]/g, '\\$&')}"` : v)

/** print is the text of tokens, the same however they were typed. */
export const print = (tokens: Pick<Token, 'key' | 'of' | 'values'>[]) => tokens.map((t) => `${t.of ? `param.${t.of}=` : `${t.key}:`}${t.values.map(quoted).join('|')}`).join(' ')

export interface Names {
  /** ids of work queues by name; null while they are not known */
  queues: Record<string, string> | null
  now: number
}

/** criteria is what the API is asked. */
export function criteria(text: string, names: Names): { filter: RunFilter; problems: Problem[] } {
  const { tokens, problems } = scan(text)
  const runs: Record<string, unknown> = {}
  const filter: RunFilter = {}
  const tags: string[] = []
  const parameters: Record<string, string[]> = {}
  const time: { after_?: string; before_?: string } = {}
  const iso = (at: number) => new Date(at).toISOString()
  const narrow = (side: 'after_' | 'before_', at: number) => {
    const had = time[side] === undefined ? null : Date.parse(time[side])
    if (had === null || (side === 'after_' ? at > had : at < had)) time[side] = iso(at)
  }
  const wrong = (t: Token, message: string) => problems.push({ message, from: t.from, to: t.to })
  for (const t of tokens) {
    switch (t.key) {
      case 'state': {
        const found = t.values.map((v) => stateNames[v.toLowerCase().replace(/[ _-]/g, '')])
        if (found.some((f) => !f)) {
          wrong(t, `There is no state ${t.values.filter((_, i) => !found[i]).join(', ')}. Known are ${stateWords.join(', ')}.`)
          break
        }
        const types = [...new Set(found.map((f) => f!.type))]
        const named = found.filter((f) => f!.name)
        // A filter on names holds for all types, so a type that is meant whole forbids it.
        if (named.length === found.length) runs.state = { type: { any_: types }, name: { any_: named.map((f) => f!.name) } }
        else if (named.every((n) => found.some((f) => !f!.name && f!.type === n!.type))) runs.state = { type: { any_: types } }
        else {
          const all: Record<string, string[]> = { PENDING: ['Pending', 'NotReady'], RUNNING: ['Running', 'Cancelling', 'Retrying', 'Rerunning'], COMPLETED: ['Completed', 'Cached'], FAILED: ['Failed', 'Crashed', 'TimedOut'], CANCELLED: ['Cancelled'], SCHEDULED: ['Scheduled', 'Late', 'AwaitingRetry'] }
          runs.state = { type: { any_: types }, name: { any_: [...new Set(found.flatMap((f) => (f!.name ? [f!.name] : all[f!.type]!)))] } }
        }
        break
      }
      case 'flow': filter.flows = { name: { any_: t.values } }; break
      case 'deployment': filter.deployments = { name: { any_: t.values.map((v) => v.split('/').pop()!) } }
        if (t.values.every((v) => v.includes('/'))) filter.flows = { name: { any_: [...new Set(t.values.map((v) => v.slice(0, v.lastIndexOf('/'))))] } }
        break
      case 'name': runs.name = { any_: t.values }; break
      case 'id': runs.id = { any_: t.values }; break
      case 'version': runs.flow_version = { any_: t.values }; break
      case 'tag': tags.push(...t.values); break
      case 'param': parameters[t.of!] = [...(parameters[t.of!] ?? []), ...t.values]; break
      case 'queue': {
        if (names.queues === null) break
        const unknown = t.values.filter((v) => !names.queues![v])
        if (unknown.length > 0) wrong(t, `There is no work queue ${unknown.join(', ')}.`)
        else runs.work_queue_id = { any_: t.values.map((v) => names.queues![v]) }
        break
      }
      case 'newer': case 'older': case 'upcoming': {
        const seconds = span(t.values[0]!)
        if (seconds === null) {
          wrong(t, `${t.key} takes a time like 15m, 6h, 7d or 2w.`)
          break
        }
        if (t.key === 'newer') narrow('after_', names.now - seconds * 1000)
        else if (t.key === 'older') narrow('before_', names.now - seconds * 1000)
        else {
          runs.state ??= { type: { any_: ['SCHEDULED'] } }
          narrow('after_', names.now)
          narrow('before_', names.now + seconds * 1000)
        }
        break
      }
      case 'after': case 'before': {
        const at = Date.parse(t.values[0]!)
        if (Number.isNaN(at)) wrong(t, `${t.key} takes a moment like 2026-01-31 or 2026-01-31T12:00.`)
        else narrow(t.key === 'after' ? 'after_' : 'before_', at)
      }
    }
  }
  if (Object.keys(parameters).length > 0) runs.parameters = { any_: parameters }
  if (tags.length > 0) runs.tags = { all_: tags }
  if (Object.keys(time).length > 0) runs.expected_start_time = time
  if (Object.keys(runs).length > 0) filter.flow_runs = runs
  return { filter, problems }
}

/** toggle puts a token into the text, replacing one of its key (but for tags), or takes it away when it is there. */
export function toggle(text: string, key: Key, values: string[]): string {
  const { tokens } = scan(text)
  const same = tokens.findIndex((t) => t.key === key && t.values.join('|') === values.join('|'))
  if (same >= 0) return print(tokens.filter((_, i) => i !== same))
  return print([...tokens.filter((t) => t.key !== key || key === 'tag'), { key, values }])
}
