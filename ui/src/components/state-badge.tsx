import { Ban, CalendarClock, CircleCheck, CircleDashed, CircleHelp, CircleX, ClockAlert, LoaderCircle, OctagonX, Zap, type LucideIcon } from 'lucide-react'
import { lookOf, type Tone } from '../core/states'
import { Prose } from './prose'

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

/** StateMessage is what was said with a state, in its colour. */
export function StateMessage({ type, name, message }: { type: string | null | undefined; name?: string | null; message: string }) {
  const { tone, label } = lookOf(type, name)
  return (
    <p className={`tone-${tone} rounded-lg border border-line border-l-4 border-l-(--tone-fill) bg-surface px-4 py-2.5 break-words whitespace-pre-wrap`}>
      <span className="sr-only">{label}: </span>
      <Prose text={message} />
    </p>
  )
}
