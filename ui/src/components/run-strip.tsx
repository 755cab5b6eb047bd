import { Link } from '@tanstack/react-router'
import type { FlowRun } from '../api/runs'
import { duration } from '../core/time'
import { lookOf } from '../core/states'

/** RunStrip is the last runs as bars, the newest at the right: their colour is how they ended, their height how long they took. */
export function RunStrip({ runs, most = 20 }: { runs: FlowRun[]; most?: number }) {
  const longest = Math.max(...runs.map((r) => r.totalRunTime), 0.001)
  const shown = runs.slice(0, most).reverse()
  return (
    <span className="flex h-6 items-end gap-[2px]" role="group" aria-label={`last ${shown.length} runs`}>
      {Array.from({ length: most - shown.length }, (_, i) => (
        <span key={`e${i}`} aria-hidden className="h-[3px] w-1.5 rounded-sm bg-line" />
      ))}
      {shown.map((r) => {
        const look = lookOf(r.stateType, r.stateName)
        const label = `${r.name}: ${look.label}, ${duration(r.totalRunTime)}`
        return (
          <Link key={r.id} to="/runs/$id" params={{ id: r.id }} title={label} aria-label={label} tabIndex={-1} className={`tone-${look.tone} flex h-6 w-1.5 items-end`}>
            <span className="w-full rounded-sm bg-(--tone-fill)" style={{ height: `${20 + 80 * Math.sqrt(r.totalRunTime / longest)}%` }} />
          </Link>
        )
      })}
    </span>
  )
}
