import { Ban, CalendarClock, CircleCheck, CircleDashed, CircleHelp, CircleX, ClockAlert, LoaderCircle, OctagonX, Zap, type LucideIcon } from 'lucide-react'
import { lookOf, type Tone } from '../core/states'

const icons: Record<Tone, LucideIcon> = {
  scheduled: CalendarClock, late: ClockAlert, pending: CircleDashed, running: LoaderCircle, cancelling: OctagonX, completed: CircleCheck, failed: CircleX, crashed: Zap,
  cancelled: Ban, unknown: CircleHelp,
}

export function ToneIcon({ tone, size = 14 }: { tone: Tone; size?: number }) {
  const Icon = icons[tone]
  return <Icon size={size} aria-hidden className={`tone-${tone} shrink-0 text-(--tone) ${tone === 'running' ? 'turning' : ''}`} />
}

/** StateBadge tells a state by an icon, a word and a colour. */
export function StateBadge({ type, name, large }: { type: string | null | undefined; name?: string | null; large?: boolean }) {
  const look = lookOf(type, name)
  return (
    <span className={`tone-${look.tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) font-medium whitespace-nowrap text-(--tone) ${large ? 'px-3 py-1' : 'px-2 py-0.5 text-[13px]'}`}>
      <ToneIcon tone={look.tone} size={large ? 16 : 14} />
      {look.label}
    </span>
  )
}
