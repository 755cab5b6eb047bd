import type { ReactNode } from 'react'

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

/** Table is a list of things of one kind. Its rows take part in j, k, x and Enter (app/keys.ts). */
export function Table<T>({ label, columns, rows, id, selected, onSelect, onSelectAll }: Props<T>) {
  return (
    <div className="relative overflow-x-auto">
      <table className="w-full border-collapse text-left" aria-label={label}>
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
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)} data-row={id(row)} className={`border-b border-line last:border-b-0 hover:bg-sunken/60 data-current:bg-accent-soft ${selected?.has(id(row)) ? 'bg-accent-soft' : ''}`}>
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
        </tbody>
      </table>
    </div>
  )
}

export const rowLink = 'font-medium text-text hover:underline decoration-accent underline-offset-3'
