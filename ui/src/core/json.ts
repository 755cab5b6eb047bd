// JSON whose integers stay exact: those beyond 2^53 become BigInt, which JSON.parse alone would round.

interface Context {
  source?: string
}

const long = /\d{16}/

export function parseJSON(text: string): unknown {
  if (!long.test(text)) return JSON.parse(text)
  return (JSON.parse as (text: string, reviver: (key: string, value: unknown, context?: Context) => unknown) => unknown)(text, (_, value, context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && context?.source && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value,
  )
}

export function printJSON(value: unknown, indent = 2): string {
  const marks: string[] = []
  const text = JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? `\u0000${marks.push(String(v)) - 1}\u0000` : v), indent)
  if (text === undefined) return ''
  return marks.length === 0 ? text : text.replace(/"\\u0000(\d+)\\u0000"/g, (_, i: string) => marks[Number(i)]!)
}
