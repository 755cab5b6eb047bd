// Markdown as artifacts have it: headings, paragraphs, lists, tables, code, quotes, emphasis and links. What it does not know stays
// text; nothing in it can become HTML, an image or a script.

export type Inline =
  | { kind: 'text' | 'code'; text: string }
  | { kind: 'strong' | 'em' | 'del'; of: Inline[] }
  | { kind: 'link'; href: string; of: Inline[] }
  | { kind: 'break' }

export type Block =
  | { kind: 'heading'; level: number; of: Inline[] }
  | { kind: 'paragraph'; of: Inline[] }
  | { kind: 'code'; text: string }
  | { kind: 'quote'; of: Block[] }
  | { kind: 'list'; ordered: boolean; start: number; items: Block[][] }
  | { kind: 'table'; head: Inline[][]; align: ('left' | 'right' | 'center')[]; rows: Inline[][][] }
  | { kind: 'rule' }

const bullet = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/
const fence = /^\s{0,3}(```+|~~~+)/
const heading = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$/
const rule = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/
const divider = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/
const deepest = 8

function cells(line: string): string[] {
  const out: string[] = []
  let cell = ''
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '\\' && line[i + 1] === '|') {
      cell += '|'
      i++
    } else if (line[i] === '|') {
      out.push(cell)
      cell = ''
    } else cell += line[i]
  }
  out.push(cell)
  if (out[0]?.trim() === '') out.shift()
  if (out.at(-1)?.trim() === '') out.pop()
  return out.map((c) => c.trim())
}

/** blocks reads a text, line by line. */
export function blocks(text: string, depth = 0): Block[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n')
  const out: Block[] = []
  let i = 0
  while (i < lines.length) {
    const line = lines[i]!
    if (line.trim() === '') { i++; continue }
    const fenced = fence.exec(line)
    if (fenced) {
      const mark = fenced[1]!
      const body: string[] = []
      for (i++; i < lines.length && !lines[i]!.trim().startsWith(mark); i++) body.push(lines[i]!)
      i++
      out.push({ kind: 'code', text: body.join('\n') })
      continue
    }
    const h = heading.exec(line)
    if (h) { out.push({ kind: 'heading', level: h[1]!.length, of: inline(h[2]!) }); i++; continue }
    if (rule.test(line)) { out.push({ kind: 'rule' }); i++; continue }
    if (/^\s{0,3}>/.test(line)) {
      const body: string[] = []
      for (; i < lines.length && /^\s{0,3}>/.test(lines[i]!); i++) body.push(lines[i]!.replace(/^\s{0,3}> ?/, ''))
      out.push({ kind: 'quote', of: depth < deepest ? blocks(body.join('\n'), depth + 1) : [{ kind: 'paragraph', of: [{ kind: 'text', text: body.join('\n') }] }] })
      continue
    }
    if (line.includes('|') && i + 1 < lines.length && divider.test(lines[i + 1]!) && lines[i + 1]!.includes('-')) {
      const head = cells(line)
      const align = cells(lines[i + 1]!).map((c) => (c.endsWith(':') ? (c.startsWith(':') ? 'center' : 'right') : 'left') as 'left' | 'right' | 'center')
      if (head.length === align.length) {
        const rows: Inline[][][] = []
        for (i += 2; i < lines.length && lines[i]!.includes('|') && lines[i]!.trim() !== ''; i++) {
          const row = cells(lines[i]!)
          rows.push(head.map((_, c) => inline(row[c] ?? '')))
        }
        out.push({ kind: 'table', head: head.map((c) => inline(c)), align, rows })
        continue
      }
    }
    const first = bullet.exec(line)
    if (first && depth < deepest) {
      const ordered = /\d/.test(first[2]!)
      const items: string[][] = []
      const indent = first[1]!.length
      while (i < lines.length) {
        const l = lines[i]!
        const b = bullet.exec(l)
        if (b && b[1]!.length <= indent + 1) {
          if (b[1]!.length < indent || /\d/.test(b[2]!) !== ordered) break
          items.push([b[3]!])
        } else if (l.trim() === '') {
          const next = lines[i + 1]
          if (next === undefined || (!bullet.test(next) && !/^\s{2,}\S/.test(next))) break
          items.at(-1)!.push('')
        } else if (/^\s{2,}/.test(l) || b) items.at(-1)!.push(l.replace(/^\s{1,4}/, ''))
        else break
        i++
      }
      out.push({ kind: 'list', ordered, start: ordered ? Number.parseInt(first[2]!) : 1, items: items.map((item) => blocks(item.join('\n'), depth + 1)) })
      continue
    }
    const body: string[] = [line]
    for (i++; i < lines.length; i++) {
      const l = lines[i]!
      if (l.trim() === '' || heading.test(l) || fence.test(l) || rule.test(l) || /^\s{0,3}>/.test(l) || bullet.test(l)) break
      body.push(l)
    }
    out.push({ kind: 'paragraph', of: inline(body.join('\n')) })
  }
  return out
}

/** safe are addresses that a link may lead to. */
export const safe = (href: string) => /^(https?:\/\/|mailto:)/i.test(href)

const token = /\\([\\`*_{}[\]()#+\-.!|~<>])|(`+)([\s\S]*?[^`])\2(?!`)|(\*\*|__)(?=\S)([\s\S]*?\S)\4|(?<![A-Za-z0-9])([*_])(?=\S)([\s\S]*?\S)\6(?![A-Za-z0-9])|~~(?=\S)([\s\S]*?\S)~~|!?\[([^\]\n]*)\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"]*")?\s*\)|<?(https?:\/\/[^\s<>)\]]*[^\s<>)\].,;:!?])>?|( {2,}\n)/g

/** inline reads what stands within a line or paragraph. */
export function inline(text: string, depth = 0): Inline[] {
  if (depth > deepest) return [{ kind: 'text', text }]
  const out: Inline[] = []
  const say = (s: string) => {
    if (s === '') return
    const last = out.at(-1)
    if (last?.kind === 'text') last.text += s
    else out.push({ kind: 'text', text: s })
  }
  let end = 0
  for (const m of text.matchAll(token)) {
    say(text.slice(end, m.index))
    end = m.index + m[0].length
    if (m[1] !== undefined) say(m[1])
    else if (m[3] !== undefined) out.push({ kind: 'code', text: m[3].trim() })
    else if (m[5] !== undefined) out.push({ kind: 'strong', of: inline(m[5], depth + 1) })
    else if (m[7] !== undefined) out.push({ kind: 'em', of: inline(m[7], depth + 1) })
    else if (m[8] !== undefined) out.push({ kind: 'del', of: inline(m[8], depth + 1) })
    else if (m[10] !== undefined) {
      if (safe(m[10])) out.push({ kind: 'link', href: m[10], of: inline(m[9] || m[10], depth + 1) })
      else say(m[0])
    } else if (m[11] !== undefined) out.push({ kind: 'link', href: m[11], of: [{ kind: 'text', text: m[11] }] })
    else out.push({ kind: 'break' })
  }
  say(text.slice(end))
  return out
}
