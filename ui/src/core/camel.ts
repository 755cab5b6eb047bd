// Turns what travels (snake_case) into what the interface works with (camelCase), and back. What users own (parameters, data,
// context, ...) keeps its names.

const opaqueNames = [
  'parameters', 'parameter_schema', 'context', 'data', 'fields', 'config', 'empirical_config', 'empirical_policy', 'task_inputs', 'default', 'from', 'to', 'value', 'settings',
] as const

const opaque = new Set<string>(opaqueNames)

type CamelKey<K> = K extends `${infer A}_${infer B}` ? `${A}${Capitalize<CamelKey<B>>}` : K

type OpaqueKey = (typeof opaqueNames)[number]

/** Camel is T with its names in camelCase, and times and ids as the texts they are. */
export type Camel<T> = T extends (infer E)[]
  ? Camel<E>[]
  : T extends object
    ? { [K in keyof T as CamelKey<K>]: K extends OpaqueKey ? T[K] : Camel<T[K]> }
    : T

const known = new Map<string, string>()

export function camelKey(key: string): string {
  let name = known.get(key)
  if (name === undefined) {
    name = key.replace(/(?<=[a-z0-9])_([a-z0-9])/g, (_, c: string) => c.toUpperCase())
    // Names are few, but for those that users choose.
    if (known.size < 2000) known.set(key, name)
  }
  return name
}

export function camel<T>(value: T): Camel<T> {
  if (Array.isArray(value)) return value.map(camel) as Camel<T>
  if (value === null || typeof value !== 'object') return value as Camel<T>
  const out: Record<string, unknown> = {}
  for (const [key, v] of Object.entries(value)) out[camelKey(key)] = opaque.has(key) ? v : camel(v)
  return out as Camel<T>
}
