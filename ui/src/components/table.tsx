import { useWindowVirtualizer } from '@tanstack/react-virtual'
import { useLayoutEffect, useRef, useState, type ReactNode } from 'react'

export interface Column<T> {
  header: string
  cell: (row: T) => ReactNode
  /** narrow screens leave it out below this width */
  from?: 'sm' | 'md' | 'lg' | 'xl'
  right?: boolean
  width?: string
  /** it has no header to show */
  silent?: boolean
}

const hidden = { sm: 'hidden sm:table-cell', md: 'hidden md:table-cell', lg: 'hidden lg:table-cell', xl: 'hidden xl:table-cell' }

interface Props<T> {
  label: string
  columns: Column<T>[]
  rows: T[]
  id: (row: T) => string
  selected?: Set<string>
  onSelect?: (id: string, range: boolean) => void
  onSelectAll?: (all: boolean) => void
}

/** Up to this many rows are all drawn. */
const windowless = 60

/** Table is a list of things of one kind. Its rows take part in j, k, x and Enter (app/keys.ts). */
export function Table<T>({ label, columns, rows, id, selected, onSelect, onSelectAll }: Props<T>) {
  const body = useRef<HTMLTableSectionElement>(null)
  const [from, setFrom] = useState(0)
  useLayoutEffect(() => {
    if (body.current) setFrom(body.current.getBoundingClientRect().top + window.scrollY)
  }, [])
  const windowed = rows.length > windowless
  const inView = useWindowVirtualizer({ count: windowed ? rows.length : 0, enabled: windowed, estimateSize: () => 66, overscan: 8, scrollMargin: from, getItemKey: (i) => (rows[i] ? id(rows[i]) : i) })
  const items = inView.getVirtualItems()
  const shown = windowed ? items.flatMap((item) => (rows[item.index] ? [{ row: rows[item.index]!, index: item.index }] : [])) : rows.map((row, index) => ({ row, index }))
  const before = windowed ? Math.max(0, (items[0]?.start ?? from) - from) : 0
  const after = windowed ? Math.max(0, inView.getTotalSize() - ((items.at(-1)?.end ?? from) - from)) : 0
  return (
    <div className="relative overflow-x-auto">
      <table className="w-full border-collapse text-left" aria-label={label} aria-rowcount={windowed ? rows.length + 1 : undefined}>
        <thead>
          <tr className="border-b border-line text-[13px] text-muted">
            {onSelect && (
              <th scope="col" className="w-9 py-2 pl-4">
                <input type="checkbox" aria-label="Select all rows" checked={rows.length > 0 && rows.every((r) => selected?.has(id(r)))} onChange={(e) => onSelectAll?.(e.target.checked)} />
              </th>
            )}
            {columns.map((c) => (
              <th key={c.header} scope="col" style={{ width: c.width }} className={`px-3 py-2 font-medium first:pl-4 last:pr-4 ${c.from ? hidden[c.from] : ''} ${c.right ? 'text-right' : ''}`}>
                {c.silent ? <span className="sr-only">{c.header}</span> : c.header}
              </th>
            ))}
          </tr>
        </thead>
        <tbody ref={body}>
          {before > 0 && <tr aria-hidden style={{ height: before }}><td className="p-0" /></tr>}
          {shown.map(({ row, index }) => (
            <tr key={id(row)} data-row={id(row)} data-index={index} ref={windowed ? inView.measureElement : undefined} aria-rowindex={windowed ? index + 2 : undefined} className={`border-b border-line last:border-b-0 hover:bg-sunken/60 data-current:bg-accent-soft ${selected?.has(id(row)) ? 'bg-accent-soft' : ''}`}>
              {onSelect && (
                <td className="py-2 pl-4 align-middle">
                  <input type="checkbox" data-row-check aria-label="Select the row" checked={selected?.has(id(row)) ?? false} onChange={() => {}} onClick={(e) => onSelect(id(row), e.shiftKey)} />
                </td>
              )}
              {columns.map((c) => (
                <td key={c.header} className={`px-3 py-2 align-middle first:pl-4 last:pr-4 ${c.from ? hidden[c.from] : ''} ${c.right ? 'text-right tabular' : ''}`}>
                  {c.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          {after > 0 && <tr aria-hidden style={{ height: after }}><td className="p-0" /></tr>}
        </tbody>
      </table>
    </div>
  )
}

export const rowLink = 'font-medium text-text hover:underline decoration-accent underline-offset-3'
