import { createContext, useContext, useSyncExternalStore } from 'react'
import { usePreferences } from '../app/preferences'
import { absolute, duration, ms, relative, type Zone } from '../core/time'

let now = Date.now()
const listeners = new Set<() => void>()
let timer: ReturnType<typeof setInterval> | null = null

/** useNow is the time, a second old at most, from one clock for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(
    (l) => {
      listeners.add(l)
      timer ??= setInterval(() => {
        now = Date.now()
        for (const f of listeners) f()
      }, 1000)
      return () => {
        listeners.delete(l)
        if (listeners.size === 0 && timer) {
          clearInterval(timer)
          timer = null
        }
      }
    },
    () => now,
  )
}

/** ScheduleZone is the time zone of the schedule that what is within it is about. */
export const ScheduleZone = createContext<string | null | undefined>(null)

/** useZone is the zone in which times are shown here. */
export function useZone(): Zone {
  const { zone } = usePreferences()
  const own = useContext(ScheduleZone)
  return zone === 'schedule' ? own || 'local' : zone
}

/** Ago is a time as a distance from now, with the time itself when pointed at. */
export function Ago({ at }: { at: string | null | undefined }) {
  const current = useNow()
  const zone = useZone()
  const t = ms(at)
  if (t === null) return <span className="text-muted">–</span>
  return (
    <time dateTime={at!} title={`${absolute(t, zone)} (${at})`} className="whitespace-nowrap tabular">
      {relative(t, Math.max(current, now))}
    </time>
  )
}

/** At is a time in full, with its zone. */
export function At({ at }: { at: string | null | undefined }) {
  const zone = useZone()
  const t = ms(at)
  if (t === null) return <span className="text-muted">–</span>
  return <time dateTime={at!} title={at!} className="tabular sm:whitespace-nowrap">{absolute(t, zone)}</time>
}

/** Took is how long something took, or has taken until now. */
export function Took({ start, end, seconds }: { start: string | null | undefined; end: string | null | undefined; seconds?: number }) {
  const running = !!start && !end
  const current = useNow()
  const t = ms(start)
  if (t === null) return <span className="text-muted">–</span>
  return <span className="whitespace-nowrap tabular">{duration(running ? Math.max(0, (Math.max(current, now) - t) / 1000) : (seconds ?? (ms(end)! - t) / 1000))}</span>
}
