// Tables of artifacts: a list of objects, of which each may have other keys.
import { printJSON } from './json'

export interface Sheet {
  columns: { name: string; numeric: boolean }[]
  rows: Record<string, unknown>[]
}

/** sheet reads the data of a table; null when it is none. Columns stand in the order in which they first appear. */
export function sheet(data: unknown): Sheet | null {
  if (!Array.isArray(data)) return null
  const names = new Map<string, boolean>()
  const rows: Record<string, unknown>[] = []
  for (const row of data) {
    if (row === null || typeof row !== 'object' || Array.isArray(row)) return null
    rows.push(row as Record<string, unknown>)
    for (const [name, v] of Object.entries(row)) {
      const numeric = typeof v === 'number' || typeof v === 'bigint'
      names.set(name, (names.get(name) ?? true) && (numeric || v === null || v === undefined))
    }
  }
  return { columns: [...names].map(([name, numeric]) => ({ name, numeric })), rows }
}

/** cellText is a value as a cell shows it. */
export const cellText = (v: unknown): string => (v === null || v === undefined ? '' : typeof v === 'string' ? v : printJSON(v, 0))

/** sorted orders rows by a column: numbers as numbers, all else as text, what is not there last. */
export function sorted(rows: Record<string, unknown>[], by: string, down: boolean): Record<string, unknown>[] {
  const sign = down ? -1 : 1
  const number = (v: unknown) => typeof v === 'number' || typeof v === 'bigint'
  return [...rows].sort((a, b) => {
    const [x, y] = [a[by], b[by]]
    if (x === undefined || x === null || y === undefined || y === null) return Number(x === undefined || x === null) - Number(y === undefined || y === null)
    if (number(x) && number(y)) return sign * (x < y ? -1 : x > y ? 1 : 0)
    return sign * cellText(x).localeCompare(cellText(y), 'en', { numeric: true })
  })
}

/** csv is the table for a spreadsheet. A text that one would take for a formula is kept from being one. */
export function csv({ columns, rows }: Sheet): string {
  const cell = (v: unknown) => {
    const text = typeof v === 'string' && /^[=+\-@\t]/.test(v) ? `'${v}` : cellText(v)
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text
  }
  return [columns.map((c) => cell(c.name)), ...rows.map((r) => columns.map((c) => cell(r[c.name])))].map((l) => l.join(',')).join('\r\n') + '\r\n'
}
