// Times and durations in words. The zone is always said; relative times have the absolute one beside them.

/** Zone is "local", "utc" or a name like Europe/Paris. */
export type Zone = string

const units: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1],
]

const relativeFormat = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'short' })

/** relative is like "5 min. ago" or "in 2 hr."; within five seconds it is "now". */
export function relative(at: number, now: number): string {
  const seconds = Math.round((at - now) / 1000)
  if (Math.abs(seconds) < 5) return 'now'
  if (Math.abs(seconds) >= 60 * 86400) return new Date(at).toISOString().slice(0, 10)
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relativeFormat.format(Math.trunc(seconds / size), unit)
  }
  return 'now'
}

/** duration is like "1h 05m", "2m 03s", "4.2s" or "12ms". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–'
  if (seconds < 0) return '–'
  if (seconds < 0.0005) return '0s'
  if (seconds < 1) return `${Math.round(seconds * 1000)}ms`
  if (seconds < 59.95) return `${seconds.toFixed(1).replace(/\.0$/, '')}s`
  const whole = Math.round(seconds)
  const pad = (n: number) => String(n).padStart(2, '0')
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${pad(Math.floor(whole / 60) % 60)}m`
  return `${Math.floor(whole / 86400)}d ${pad(Math.floor(whole / 3600) % 24)}h`
}

function inZone(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-GB', { ...options, hour12: false, timeZone: zone === 'local' ? undefined : zone === 'utc' ? 'UTC' : zone })
  } catch {
    // The server may know zones that this browser does not; the time is printed with its zone.
    return new Intl.DateTimeFormat('en-GB', { ...options, hour12: false, timeZone: 'UTC' })
  }
}

const formats = new Map<string, Intl.DateTimeFormat>()

function format(zone: Zone, kind: 'full' | 'clock' | 'short'): Intl.DateTimeFormat {
  const key = `${zone} ${kind}`
  let f = formats.get(key)
  if (!f) {
    const options: Intl.DateTimeFormatOptions =
      kind === 'clock'
        ? { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 }
        : kind === 'short'
          ? { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' }
          : { year: 'numeric', month: 'short', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short' }
    f = inZone(zone, options)
    formats.set(key, f)
  }
  return f
}

export const absolute = (at: number, zone: Zone) => format(zone, 'full').format(at)
export const clock = (at: number, zone: Zone) => format(zone, 'clock').format(at)
export const shortTime = (at: number, zone: Zone) => format(zone, 'short').format(at)

/** ms is a time of the API as milliseconds, null for none. */
export const ms = (text: string | null | undefined): number | null => (text ? Date.parse(text) : null)
