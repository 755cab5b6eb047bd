import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { ArrowDown, ArrowUp, Download, ExternalLink, FileText, Link2, Table2 } from 'lucide-react'
import { useMemo, useState, type ReactNode } from 'react'
import { artifact, type Artifact } from '../api/artifacts'
import { save } from '../api/fetch'
import { cellText, csv, sheet, sorted } from '../core/cells'
import { safe } from '../core/markdown'
import { Button } from './button'
import { Loaded } from './feedback'
import { JSONView } from './json-view'
import { Markdown } from './markdown'
import { Ago } from './time'

/** Above this many, rows are shown when asked for. */
const most = 200

function DataTable({ name, data }: { name: string; data: unknown }) {
  const [by, setBy] = useState<{ column: string; down: boolean } | null>(null)
  const [all, setAll] = useState(false)
  const s = useMemo(() => sheet(data), [data])
  const rows = useMemo(() => (s && by ? sorted(s.rows, by.column, by.down) : (s?.rows ?? [])), [s, by])
  if (!s) return <JSONView value={data} label={name} />
  const shown = all ? rows : rows.slice(0, most)
  return (
    <div>
      <div role="region" aria-label={`Table ${name}`} tabIndex={0} className="max-h-[520px] overflow-auto">
        <table className="border-collapse text-left" aria-label={name}>
          <thead className="sticky top-0 bg-surface">
            <tr className="border-b border-line">
              {s.columns.map((c) => {
                const on = by?.column === c.name
                return (
                  <th key={c.name} scope="col" aria-sort={on ? (by.down ? 'descending' : 'ascending') : undefined} className={`py-1.5 pr-8 first:pl-4 last:pr-4 ${c.numeric ? 'text-right' : ''}`}>
                    <button type="button" onClick={() => setBy({ column: c.name, down: on ? !by.down : c.numeric })} className="inline-flex items-center gap-1 font-medium whitespace-nowrap text-muted hover:text-text">
                      {c.name}{on && (by.down ? <ArrowDown size={13} aria-hidden /> : <ArrowUp size={13} aria-hidden />)}
                    </button>
                  </th>
                )
              })}
            </tr>
          </thead>
          <tbody>
            {shown.map((r, i) => (
              <tr key={i} className="border-b border-line last:border-0 hover:bg-sunken/60">
                {s.columns.map((c) => <td key={c.name} className={`max-w-[48ch] py-1.5 pr-8 align-top break-words first:pl-4 last:pr-4 ${c.numeric ? 'text-right tabular' : ''}`}>{cellText(r[c.name])}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="flex flex-wrap items-center gap-3 border-t border-line px-4 py-1.5 text-[13px] text-muted tabular">
        {rows.length.toLocaleString('en')} {rows.length === 1 ? 'row' : 'rows'}
        {shown.length < rows.length && <button type="button" className="text-accent underline" onClick={() => setAll(true)}>show all, not only {most}</button>}
        <Button small kind="quiet" className="ml-auto" onClick={() => save(new Blob([csv(s)], { type: 'text/csv' }), `${name}.csv`)}><Download size={13} aria-hidden /> CSV</Button>
      </p>
    </div>
  )
}

function Content({ a }: { a: Artifact }) {
  if (a.type === 'table') return <DataTable name={a.key} data={a.data} />
  if (a.type === 'markdown' && typeof a.data === 'string') return <div className="p-4"><Markdown text={a.data} /></div>
  const link = a.data as { url?: string; text?: string } | null
  if (a.type === 'link' && link?.url && safe(link.url)) {
    return (
      <p className="p-4">
        <a href={link.url} target="_blank" rel="noreferrer noopener" className="inline-flex items-center gap-1.5 font-medium text-accent underline underline-offset-2">{link.text || link.url} <ExternalLink size={14} aria-hidden /></a>
        {link.text !== link.url && <span className="block text-[13px] break-all text-muted">{link.url}</span>}
      </p>
    )
  }
  return <div className="p-4"><JSONView value={a.data} label={a.key} /></div>
}

const icons = { table: Table2, markdown: FileText, link: Link2 }

/** ArtifactView is one artifact: its head at once, its content when it is open. */
export function ArtifactView({ of, open: initially = true, more }: { of: Artifact; open?: boolean; more?: ReactNode }) {
  const [open, setOpen] = useState(initially)
  const query = useQuery({ ...artifact(of.id), enabled: open && of.data === null, initialData: of.data !== null ? of : undefined })
  const Icon = icons[of.type]
  return (
    <section aria-label={`Artifact ${of.key}`} className="min-w-0 rounded-lg border border-line bg-surface">
      <div className={`flex flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2.5 ${open ? 'border-b border-line' : ''}`}>
        <Icon size={16} aria-hidden className="text-muted" />
        <h3 className="font-semibold break-all"><Link to="/artifacts" search={{ q: of.key }} className="hover:underline">{of.key}</Link></h3>
        {of.description && <span className="text-muted">{of.description}</span>}
        <span className="ml-auto flex items-center gap-3 text-[13px] text-muted">{more}<Ago at={of.created} /><Button small kind="quiet" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? 'Hide' : 'Show'}</Button></span>
      </div>
      {open && <Loaded query={query} rows={2}>{(a) => <Content a={a} />}</Loaded>}
    </section>
  )
}
