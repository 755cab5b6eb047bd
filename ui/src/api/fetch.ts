// The only place that talks to the server, but for the event stream (src/live), which shares its headers.
import { camel, type Camel } from '../core/camel'
import { parseJSON, printJSON } from '../core/json'

/** ApiError is an answer that is no success, or none at all (status 0). */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly kind: string,
    readonly hint: string,
    readonly requestId: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

const tokenKey = 'sluice.token'

/** session holds the token of whoever signed in, in this browser or, if not to be remembered, in this tab. */
export const session = {
  token: (): string | null => sessionStorage.getItem(tokenKey) ?? localStorage.getItem(tokenKey),
  signIn(token: string, remember: boolean) {
    session.signOut()
    ;(remember ? localStorage : sessionStorage).setItem(tokenKey, token)
  },
  signOut() {
    sessionStorage.removeItem(tokenKey)
    localStorage.removeItem(tokenKey)
  },
}

/** address is where the server has a path like api/flows, whatever stands before it. */
export const address = (path: string) => new URL(path, document.baseURI).toString()

export function headers(): Record<string, string> {
  const token = session.token()
  return token ? { Authorization: `Bearer ${token}` } : {}
}

let onUnauthenticated: () => void = () => {}
/** whenUnauthenticated says what happens when the server wants a token and has none that it knows. */
export function whenUnauthenticated(f: () => void) {
  onUnauthenticated = f
}

// Where the state stood after the last write from here: later reads see it, whichever node answers them.
let lastIndex: string | null = null

export interface Options {
  body?: unknown
  query?: Record<string, string | number | boolean | null | undefined>
  signal?: AbortSignal
  /** reads may be repeated, on a node that has no leader too */
  reads?: boolean
}

export interface Answer<T> {
  value: T
  nextCursor: string | null
  /** the node had no leader to ask, so this is what it has */
  stale: boolean
}

// crypto.randomUUID is missing on pages that did not come by HTTPS.
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')
}

function failureOf(status: number, requestId: string, text: string): ApiError {
  let body: { detail?: unknown; kind?: string; hint?: string; request_id?: string; exception_message?: string; message?: string; exception_detail?: { loc: unknown[]; msg: string }[] } = {}
  try {
    body = JSON.parse(text)
  } catch {
    return new ApiError(`The server answered ${status} with something that is not JSON. A proxy between may have answered in its place.`, status, 'internal', '', requestId)
  }
  const findings = body.exception_detail ?? (Array.isArray(body.detail) ? (body.detail as { loc: unknown[]; msg: string }[]) : [])
  const found = findings.map((f) => `${f.loc.filter((l) => l !== 'body').join('.')}: ${f.msg}`).join('; ')
  const message = found || (typeof body.detail === 'string' && body.detail) || body.exception_message || body.message || `The server answered ${status}.`
  return new ApiError(message, status, body.kind ?? 'internal', body.hint ?? '', body.request_id ?? requestId)
}

async function send(method: string, path: string, o: Options, stale: boolean, idempotencyKey: string | null): Promise<Response> {
  const url = new URL(address(`api${path}`))
  for (const [k, v] of Object.entries(o.query ?? {})) if (v !== null && v !== undefined && v !== '') url.searchParams.set(k, String(v))
  if (stale) url.searchParams.set('consistency', 'stale')
  const h: Record<string, string> = { Accept: 'application/json', ...headers() }
  if (o.body !== undefined) h['Content-Type'] = 'application/json'
  if (idempotencyKey) h['Idempotency-Key'] = idempotencyKey
  if (o.reads && lastIndex && !stale) h['X-Sluice-Min-Index'] = lastIndex
  try {
    return await fetch(url, { method, headers: h, body: o.body === undefined ? undefined : printJSON(o.body, 0), signal: o.signal, credentials: 'same-origin', cache: 'no-store' })
  } catch (error) {
    if (o.signal?.aborted) throw error
    throw new ApiError('The server cannot be reached.', 0, 'unavailable', 'Is the node running? Another node, or the load balancer, may answer.', '')
  }
}

/** exchange asks once, and answers what the server said as it travels. */
export async function exchange(method: string, path: string, o: Options = {}): Promise<Answer<unknown>> {
  const key = !o.reads && method === 'POST' ? randomId() : null
  let stale = false
  let response = await send(method, path, o, false, key)
  if (response.status === 503 && o.reads) {
    stale = true
    response = await send(method, path, o, true, null)
  }
  const text = await response.text()
  if (!response.ok) {
    if (response.status === 401) onUnauthenticated()
    throw failureOf(response.status, response.headers.get('X-Request-Id') ?? '', text)
  }
  if (!o.reads) lastIndex = response.headers.get('X-Sluice-Index') ?? lastIndex
  return { value: text === '' ? null : parseJSON(text), nextCursor: response.headers.get('X-Sluice-Next-Cursor'), stale }
}

/** read gets what the wire type W describes, in the interface's names. */
export async function read<W>(path: string, o: Omit<Options, 'reads' | 'body'> = {}): Promise<Camel<W>> {
  return camel((await exchange('GET', path, { ...o, reads: true })).value as W)
}

/** find is a read whose criteria are a body. */
export async function find<W>(path: string, body: unknown, o: Omit<Options, 'reads' | 'body'> = {}): Promise<Camel<W>> {
  return camel((await exchange('POST', path, { ...o, body, reads: true })).value as W)
}

/** findPage is a page of a list by cursor; cursor "" begins it. */
export async function findPage<W>(path: string, body: unknown, cursor: string, signal?: AbortSignal): Promise<{ items: Camel<W>; next: string | null }> {
  const url = `${path}?cursor=${encodeURIComponent(cursor)}`
  const answer = await exchange('POST', url, { body, reads: true, signal })
  return { items: camel(answer.value as W), next: answer.nextCursor }
}

/** write changes something. A POST carries a key with which the server would recognise it. */
export async function write<W = null>(method: 'POST' | 'PATCH' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<Camel<W>> {
  return camel((await exchange(method, path, { body })).value as W)
}

/** download saves what an address answers as a file. A link cannot show who asks; without that the browser writes it to disk as it comes. */
export async function download(path: string, name: string): Promise<void> {
  if (!session.token()) {
    saveFrom(address(`api${path}`), name)
    return
  }
  const response = await fetch(address(`api${path}`), { headers: headers(), credentials: 'same-origin' })
  if (!response.ok) throw failureOf(response.status, response.headers.get('X-Request-Id') ?? '', await response.text())
  save(await response.blob(), name)
}

/** save keeps something as a file. */
export function save(content: Blob, name: string) {
  const url = URL.createObjectURL(content)
  saveFrom(url, name)
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

function saveFrom(url: string, name: string) {
  const a = document.createElement('a')
  a.href = url
  a.download = name
  a.click()
}
