// JSON whose integers stay exact: those beyond 2^53 become BigInt, which JSON.parse alone would round.

const long = /\d{16}/
// Texts and numbers, so that digits within texts are left alone.
const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

export function parseJSON(text: string): unknown {
  if (!long.test(text)) return JSON.parse(text)
  let mark = '#'
  while (text.includes(mark)) mark += '#'
  const marked = text.replace(tokens, (t) => (t[0] !== '"' && /^-?\d+$/.test(t) && !Number.isSafeInteger(Number(t)) ? `"${mark}${t}"` : t))
  try {
    return JSON.parse(marked, (_, v: unknown) => (typeof v === 'string' && v.startsWith(mark) ? BigInt(v.slice(mark.length)) : v))
  } catch {
    // Its error speaks of places in the text as it is.
    return JSON.parse(text)
  }
}

export function printJSON(value: unknown, indent = 2): string {
  const marks: string[] = []
  const text = JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? `\u0000${marks.push(String(v)) - 1}\u0000` : v), indent)
  if (text === undefined) return ''
  return marks.length === 0 ? text : text.replace(/"\\u0000(\d+)\\u0000"/g, (_, i: string) => marks[Number(i)]!)
}
