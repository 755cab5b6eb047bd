import { useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react'
import { bars, brushed, ceiling, pick, type Bar, type Span } from '../core/history'
import type { HistoryInterval } from '../api/runs'
import { shortTime } from '../core/time'
import { toneLabel, tones } from '../core/states'
import { ToneIcon } from './state-badge'
import { useZone } from './time'

interface Props {
  history: HistoryInterval[]
  height?: number
  now?: number
  /** called with what was drawn over the chart, or the bar that was opened by keyboard */
  onBrush?: (span: Span) => void
}

/** HistoryChart stacks runs by state over time. It is brushed with the pointer, walked with the arrow keys, and has a table that says the same. */
export function HistoryChart({ history, height = 150, now = Date.now(), onBrush }: Props) {
  const zone = useZone()
  const all = useMemo(() => bars(history), [history])
  const top = ceiling(Math.max(0, ...all.map((b) => b.total)))
  const [at, setAt] = useState<number | null>(null)
  const [drag, setDrag] = useState<[number, number] | null>(null)
  const [table, setTable] = useState(false)
  const area = useRef<HTMLDivElement>(null)
  const present = tones.filter((t) => all.some((b) => b.parts.some((p) => p.tone === t)))
  const first = all[0]
  const last = all.at(-1)
  if (!first || !last) return null
  const place = (e: PointerEvent) => {
    const box = area.current!.getBoundingClientRect()
    return Math.min(1, Math.max(0, (e.clientX - box.left) / box.width))
  }
  const nowAt = (now - first.start) / (last.end - first.start)
  const shown = at === null ? null : all[at]
  const onKey = (e: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]
    if (step) {
      e.preventDefault()
      setAt((a) => Math.min(all.length - 1, Math.max(0, a === null ? (step > 0 ? 0 : all.length - 1) : a + step)))
    } else if (e.key === 'Enter' && shown) onBrush?.(shown)
    else if (e.key === 'Escape') setAt(null)
  }
  const words = (b: Bar) => `${shortTime(b.start, zone)} to ${shortTime(b.end, zone)}: ${b.parts.length === 0 ? 'no runs' : b.parts.map((p) => `${p.count} ${toneLabel[p.tone].toLowerCase()}`).join(', ')}`
  return (
    <figure className="m-0">
      <div className="mb-2 flex flex-wrap items-center gap-x-4 gap-y-1 text-[13px]">
        {present.map((t) => (
          <span key={t} className={`tone-${t} inline-flex items-center gap-1.5`}>
            <span aria-hidden className="size-2.5 rounded-[3px] bg-(--tone-fill)" />
            <ToneIcon tone={t} size={13} /> {toneLabel[t]}
          </span>
        ))}
        {present.length === 0 && <span className="text-muted">No runs in this time.</span>}
        <button type="button" aria-pressed={table} onClick={() => setTable(!table)} className="ml-auto rounded px-1.5 text-muted hover:bg-sunken hover:text-text">{table ? 'Show the chart' : 'Show as a table'}</button>
      </div>
      {table ? (
        <div className="max-h-72 overflow-auto rounded border border-line" tabIndex={0} role="region" aria-label="Run history as a table">
          <table className="w-full text-left">
            <thead className="sticky top-0 bg-surface">
              <tr>{['From', ...present.map((t) => toneLabel[t]), 'All'].map((h, i) => <th key={h} scope="col" className={`border-b border-line px-3 py-1.5 text-[13px] font-medium text-muted ${i > 0 ? 'text-right' : ''}`}>{h}</th>)}</tr>
            </thead>
            <tbody>
              {all.filter((b) => b.total > 0).map((b) => (
                <tr key={b.start} className="border-b border-line last:border-0">
                  <th scope="row" className="px-3 py-1 font-normal whitespace-nowrap">{shortTime(b.start, zone)}</th>
                  {present.map((t) => <td key={t} className="px-3 py-1 text-right tabular">{b.parts.find((p) => p.tone === t)?.count ?? 0}</td>)}
                  <td className="px-3 py-1 text-right tabular">{b.total}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="flex gap-2">
          <div aria-hidden className="flex flex-col justify-between text-right text-[12px] leading-none text-muted tabular" style={{ height }}>
            <span>{top}</span>
            <span>{top / 2}</span>
            <span>0</span>
          </div>
          <div className="min-w-0 flex-1">
            <div
              ref={area}
              role="application"
              aria-roledescription="chart"
              aria-label={`Run history, ${all.length} bars. Arrow keys walk through them, Enter shows the runs of one.`}
              tabIndex={0}
              onKeyDown={onKey}
              onPointerDown={(e) => {
                if (!onBrush || e.button !== 0) return
                e.currentTarget.setPointerCapture(e.pointerId)
                setDrag([place(e), place(e)])
              }}
              onPointerMove={(e) => {
                setAt(pick(all.length, place(e)))
                if (drag) setDrag([drag[0], place(e)])
              }}
              onPointerUp={(e) => {
                const span = drag && brushed(all, drag[0], place(e))
                setDrag(null)
                if (span) onBrush?.(span)
              }}
              onPointerCancel={() => setDrag(null)}
              onPointerLeave={() => !drag && setAt(null)}
              className={`relative touch-pan-y border-b border-line select-none ${onBrush ? 'cursor-crosshair' : ''}`}
              style={{ height }}
            >
              <span aria-hidden className="absolute inset-x-0 top-0 border-t border-dashed border-line" />
              <span aria-hidden className="absolute inset-x-0 top-1/2 border-t border-dashed border-line" />
              <svg width="100%" height={height} viewBox={`0 0 ${all.length} ${height}`} preserveAspectRatio="none" aria-hidden className="absolute inset-0">
                {all.map((b, i) => (
                  <g key={b.start}>
                    {i === at && <rect x={i} y={0} width={1} height={height} fill="var(--accent-soft)" />}
                    {b.parts.map((p) => {
                      const h = (p.count / top) * (height - 2)
                      return <rect key={p.tone} x={i + 0.1} width={0.8} y={height - (p.from / top) * (height - 2) - Math.max(h, 1.5)} height={Math.max(h, 1.5)} fill={`var(--${p.tone}-fill)`} />
                    })}
                  </g>
                ))}
              </svg>
              {nowAt > 0 && nowAt < 1 && <span aria-hidden className="absolute inset-y-0 border-l-2 border-accent" style={{ left: `${nowAt * 100}%` }}><span className="absolute top-0 left-1 text-[11px] leading-none font-medium text-accent">now</span></span>}
              {drag && <span aria-hidden className="absolute inset-y-0 border-x border-accent bg-accent/15" style={{ left: `${Math.min(...drag) * 100}%`, width: `${Math.abs(drag[1] - drag[0]) * 100}%` }} />}
              {shown && (
                <div aria-hidden className="pointer-events-none absolute -top-1 z-10 w-max max-w-64 -translate-y-full rounded-md border border-line bg-surface px-2.5 py-1.5 text-[13px] shadow-lg" style={at! < all.length / 2 ? { left: `${(at! / all.length) * 100}%` } : { right: `${100 - ((at! + 1) / all.length) * 100}%` }}>
                  <p className="text-muted">{shortTime(shown.start, zone)} – {shortTime(shown.end, zone)}</p>
                  {shown.parts.length === 0 ? <p>no runs</p> : [...shown.parts].reverse().map((p) => <p key={p.tone} className="flex items-center gap-1.5"><ToneIcon tone={p.tone} size={13} /> {p.count} {toneLabel[p.tone].toLowerCase()}</p>)}
                </div>
              )}
            </div>
            <div aria-hidden className="mt-1 flex justify-between text-[12px] text-muted tabular">
              <span>{shortTime(first.start, zone)}</span>
              <span className="hidden sm:inline">{shortTime((first.start + last.end) / 2, zone)}</span>
              <span>{shortTime(last.end, zone)}</span>
            </div>
            <p aria-live="polite" className="sr-only">{shown ? words(shown) : ''}</p>
          </div>
        </div>
      )}
    </figure>
  )
}
