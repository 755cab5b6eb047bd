import { describe, expect, it } from 'vitest'
import { scheduleWords } from './schedule'

describe('a schedule in words', () => {
  it.each([
    [null, 'no schedule'],
    [{ interval: 60 }, 'every minute'], [{ interval: 5400 }, 'every 90 minutes'], [{ interval: 86400 }, 'every day'], [{ interval: 7 }, 'every 7 seconds'],
    [{ cron: '0 6 * * *' }, 'every day at 06:00, UTC'], [{ cron: '*/15 * * * *' }, 'every 15 minutes, UTC'], [{ cron: '30 9 * * 1-5', timezone: 'America/New_York' }, 'every weekday at 09:30, America/New York'],
    [{ cron: '0 0 * * 7' }, 'every Sunday at 00:00, UTC'], [{ cron: '0 3 1 * *' }, 'on day 1 of every month at 03:00, UTC'], [{ cron: '5 */2 * * *' }, 'every 2 hours at 05 past, UTC'],
    [{ cron: '0 0 13 * 5' }, 'cron 0 0 13 * 5, UTC'], [{ cron: '0 0 L * *' }, 'cron 0 0 L * *, UTC'],
    [{ rrule: 'FREQ=WEEKLY;INTERVAL=2' }, 'every 2 weeks by rule, UTC'],
  ])('%j is %s', (s, want) => expect(scheduleWords(s)).toBe(want))
})
