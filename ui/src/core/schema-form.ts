// A form is a view of one JSON value: what it shows is read from the value, what is typed makes a new value. What the form has no
// field for stays as it is.
import { parseJSON } from './json'

export interface Schema {
  type?: string | string[]
  title?: string
  description?: string
  enum?: unknown[]
  const?: unknown
  format?: string
  writeOnly?: boolean
  secret_fields?: string[]
  default?: unknown
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  pattern?: string
  anyOf?: Schema[]
  oneOf?: Schema[]
  allOf?: Schema[]
  $ref?: string
  $defs?: Record<string, Schema>
  definitions?: Record<string, Schema>
  additionalProperties?: boolean | Schema
}

export type Kind = 'text' | 'date-time' | 'number' | 'integer' | 'boolean' | 'choice' | 'list' | 'object' | 'json'

export interface FormField {
  path: string[]
  name: string
  label: string
  about: string
  kind: Kind
  needed: boolean
  nullable: boolean
  choices: unknown[]
  fields: FormField[]
  schema: Schema
}

/** resolve follows references within the schema, and takes the one part that is not null of a choice with null. */
export function resolve(schema: Schema, root: Schema, depth = 0): { schema: Schema; nullable: boolean } {
  if (depth > 20) return { schema: {}, nullable: false }
  if (schema.$ref?.startsWith('#')) {
    let found: unknown = root
    for (const part of schema.$ref.split('/').slice(1)) found = (found as Record<string, unknown> | undefined)?.[part.replace(/~1/g, '/').replace(/~0/g, '~')]
    const { $ref: _, ...beside } = schema
    return resolve({ ...(found as Schema | undefined), ...beside }, root, depth + 1)
  }
  if (schema.allOf?.length === 1) {
    const { allOf, ...beside } = schema
    return resolve({ ...allOf[0], ...beside }, root, depth + 1)
  }
  const options = schema.anyOf ?? schema.oneOf
  if (options) {
    const real = options.filter((o) => o.type !== 'null')
    if (real.length === 1) {
      const { anyOf: _a, oneOf: _o, ...beside } = schema
      return { schema: resolve({ ...real[0], ...beside }, root, depth + 1).schema, nullable: real.length < options.length }
    }
    return { schema: { ...schema, type: undefined }, nullable: false }
  }
  if (Array.isArray(schema.type)) {
    const real = schema.type.filter((t) => t !== 'null')
    return { schema: { ...schema, type: real.length === 1 ? real[0] : undefined }, nullable: real.length < schema.type.length }
  }
  return { schema, nullable: false }
}

function kindOf(s: Schema, depth: number): Kind {
  if (s.enum) return 'choice'
  switch (s.type) {
    case 'string': return s.format === 'date-time' ? 'date-time' : 'text'
    case 'number': case 'integer': case 'boolean': return s.type
    case 'array': return s.items && ['string', 'number', 'integer'].includes(String(s.items.type)) ? 'list' : 'json'
    case 'object': return s.properties && depth < 4 ? 'object' : 'json'
    default: return 'json'
  }
}

/** fields are those of an object schema, in its order. */
export function fields(schema: Schema, root: Schema = schema, path: string[] = []): FormField[] {
  const own = resolve(schema, root).schema
  return Object.entries(own.properties ?? {}).map(([name, property]) => {
    const { schema: s, nullable } = resolve(property, root)
    const kind = kindOf(s, path.length)
    const at = [...path, name]
    return {
      path: at, name, label: s.title ?? name, about: s.description ?? '', kind, needed: own.required?.includes(name) ?? false, nullable, choices: s.enum ?? [],
      fields: kind === 'object' ? fields(s, root, at) : [], schema: s,
    }
  })
}

type JSONObject = Record<string, unknown>

export function get(value: unknown, path: string[]): unknown {
  return path.reduce<unknown>((v, key) => (v !== null && typeof v === 'object' ? (v as JSONObject)[key] : undefined), value)
}

/** set is the value with another one at the path; undefined takes it away. What lies beside stays the same. */
export function set(value: unknown, path: string[], to: unknown): JSONObject {
  const [key, ...rest] = path as [string, ...string[]]
  const out: JSONObject = { ...(value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as JSONObject) : {}) }
  if (rest.length > 0) out[key] = set(out[key], rest, to)
  else if (to === undefined) delete out[key]
  else out[key] = to
  return out
}

/** read turns what was typed into a value, or says what is wrong with it. */
export function read(field: Pick<FormField, 'kind' | 'schema'>, text: string): { value: unknown } | { problem: string } {
  switch (field.kind) {
    case 'number': case 'integer': {
      if (text.trim() === '') return { value: undefined }
      if (field.kind === 'integer' && /^-?\d+$/.test(text.trim())) {
        const n = Number(text)
        return { value: Number.isSafeInteger(n) ? n : BigInt(text.trim()) }
      }
      const n = Number(text)
      if (!Number.isFinite(n) || (field.kind === 'integer' && !Number.isInteger(n))) return { problem: field.kind === 'integer' ? 'A whole number.' : 'A number.' }
      return { value: n }
    }
    case 'json':
      if (text.trim() === '') return { value: undefined }
      try {
        return { value: parseJSON(text) }
      } catch (e) {
        return { problem: `This is no JSON: ${(e as Error).message}` }
      }
    default: return { value: text }
  }
}

/** check finds what the schema does not allow, by the path of each field. The server has the last word. */
export function check(list: FormField[], value: unknown): Map<string, string> {
  const found = new Map<string, string>()
  for (const f of list) {
    const v = get(value, f.path)
    const at = f.path.join('.')
    if (v === undefined) {
      if (f.needed && f.schema.default === undefined) found.set(at, 'This one is needed.')
      continue
    }
    if (v === null) {
      if (!f.nullable && f.kind !== 'json' && !f.choices.includes(null)) found.set(at, 'It must not be null.')
      continue
    }
    const s = f.schema
    const number = typeof v === 'number' || typeof v === 'bigint'
    if (f.kind === 'object') for (const [k, p] of check(f.fields, value)) found.set(k, p)
    else if ((f.kind === 'number' || f.kind === 'integer') && !number) found.set(at, 'It must be a number.')
    else if ((f.kind === 'text' || f.kind === 'date-time') && typeof v !== 'string') found.set(at, 'It must be a text.')
    else if (f.kind === 'boolean' && typeof v !== 'boolean') found.set(at, 'It must be true or false.')
    else if (f.kind === 'choice' && !f.choices.some((c) => c === v)) found.set(at, `It must be one of ${f.choices.join(', ')}.`)
    else if (f.kind === 'list' && !Array.isArray(v)) found.set(at, 'It must be a list.')
    else if (number && s.minimum !== undefined && v < s.minimum) found.set(at, `At least ${s.minimum}.`)
    else if (number && s.maximum !== undefined && v > s.maximum) found.set(at, `At most ${s.maximum}.`)
    else if (typeof v === 'string' && s.minLength !== undefined && v.length < s.minLength) found.set(at, `At least ${s.minLength} characters.`)
    else if (typeof v === 'string' && s.maxLength !== undefined && v.length > s.maxLength) found.set(at, `At most ${s.maxLength} characters.`)
  }
  return found
}

/** secretNames are what the fields of storages are called whose schemas, those of Orion, do not mark them. */
const secretNames = /(^|_)(secret|password|passwd|token|credentials?|connection_string)(_|$)/i

/** secret tells fields that nobody is to read over a shoulder: write-only, of the format password, named by secret_fields, or of a name that says so. */
export function secret(field: Pick<FormField, 'path' | 'schema'>, root?: Schema): boolean {
  const named = root?.secret_fields?.some((s) => {
    const parts = s.split('.')
    return parts.length === field.path.length && parts.every((p, i) => p === '*' || p === field.path[i])
  })
  return !!named || field.schema.writeOnly === true || field.schema.format === 'password' || secretNames.test(field.path.at(-1) ?? '')
}
