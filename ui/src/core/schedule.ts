// Schedules in words.

export interface AnySchedule {
  interval?: number
  anchorDate?: string | null
  cron?: string
  rrule?: string
  timezone?: string | null
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

function every(seconds: number): string {
  for (const [name, size] of [['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60]] as const) {
    if (seconds >= size && seconds % size === 0) return seconds === size ? `every ${name}` : `every ${seconds / size} ${name}s`
  }
  return seconds === 1 ? 'every second' : `every ${seconds} seconds`
}

const number = /^\d+$/
const pad = (n: string) => n.padStart(2, '0')

/** cronWords knows the usual forms; others are shown as they are. */
function cronWords(cron: string): string {
  const f = cron.trim().split(/\s+/)
  if (f.length !== 5) return `cron ${cron}`
  const [minute, hour, day, month, weekday] = f as [string, string, string, string, string]
  const step = /^\*\/(\d+)$/
  const any = (...fields: string[]) => fields.every((x) => x === '*')
  if (any(hour, day, month, weekday)) {
    if (minute === '*') return 'every minute'
    if (step.test(minute)) return `every ${step.exec(minute)![1]} minutes`
    if (number.test(minute)) return minute === '0' ? 'every hour' : `every hour at ${pad(minute)} past`
  }
  if (any(day, month, weekday) && step.test(hour) && number.test(minute)) return `every ${step.exec(hour)![1]} hours${minute === '0' ? '' : ` at ${pad(minute)} past`}`
  if (!number.test(minute) || !number.test(hour)) return `cron ${cron}`
  const at = `at ${pad(hour)}:${pad(minute)}`
  if (any(day, month, weekday)) return `every day ${at}`
  if (any(day, month)) {
    if (weekday === '1-5') return `every weekday ${at}`
    if (weekday.split(',').every((w) => number.test(w) && Number(w) <= 7)) return `every ${weekday.split(',').map((w) => days[Number(w) % 7]).join(', ')} ${at}`
  }
  if (any(month, weekday) && number.test(day)) return `on day ${day} of every month ${at}`
  return `cron ${cron}`
}

export function scheduleWords(s: AnySchedule | null | undefined): string {
  if (!s) return 'no schedule'
  const zone = s.timezone && s.timezone !== 'UTC' ? `, ${s.timezone.replace(/_/g, ' ')}` : s.cron || s.rrule ? ', UTC' : ''
  if (s.interval !== undefined) return every(s.interval)
  if (s.cron) return cronWords(s.cron) + zone
  if (s.rrule) {
    const freq = /FREQ=([A-Z]+)/.exec(s.rrule)?.[1]
    const n = /INTERVAL=(\d+)/.exec(s.rrule)?.[1]
    const unit = { SECONDLY: 'second', MINUTELY: 'minute', HOURLY: 'hour', DAILY: 'day', WEEKLY: 'week', MONTHLY: 'month', YEARLY: 'year' }[freq ?? '']
    return (unit ? `every ${n && n !== '1' ? `${n} ${unit}s` : unit} by rule` : 'by rule') + zone
  }
  return 'no schedule'
}
