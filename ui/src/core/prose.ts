// What the server says in sentences: commands and times in them are told apart, to be shown as such.

export interface Part {
  kind: 'text' | 'code' | 'time'
  text: string
}

const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)`
// Between backticks, in parentheses, behind a colon at the end, or alone: those are where sentences have commands.
const pattern = new RegExp(String.raw`\x60([^\x60]+)\x60|(${time})(?:, in (?:\d+(?:\.\d+)?(?:h|m|s|ms|µs))+)?|(?<=\()(sluice [^)]+)(?=\))|(?<=^|: )(sluice .+)$`, 'g')

// The same moment, as people write it.
const spoken = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g
const spanBefore = /in (?:\d+(?:\.\d+)?(?:h|m|s|ms|µs))+, (at \d{4}-\d\d-\d\d)/g

/** prose cuts a sentence into its parts. A span that follows a time says again what a time near it will. */
export function prose(sentence: string): Part[] {
  sentence = sentence.replace(spanBefore, '$1').replace(spoken, '$1T$2Z')
  const parts: Part[] = []
  let end = 0
  for (const m of sentence.matchAll(pattern)) {
    if (m.index > end) parts.push({ kind: 'text', text: sentence.slice(end, m.index) })
    parts.push(m[2] ? { kind: 'time', text: m[2] } : { kind: 'code', text: (m[1] ?? m[3] ?? m[4])! })
    end = m.index + m[0].length
  }
  if (end < sentence.length) parts.push({ kind: 'text', text: sentence.slice(end) })
  return parts
}
