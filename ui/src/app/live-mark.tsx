import { CloudOff, Pause, Radio, RefreshCw } from 'lucide-react'
import { useNow } from '../components/time'
import { duration } from '../core/time'
import { useLiveStatus } from '../live/live'

/** LiveMark says whether what is shown is what is. */
export function LiveMark() {
  const { mark, since } = useLiveStatus()
  const now = useNow()
  const look = {
    live: { Icon: Radio, tone: 'completed', text: 'Live', title: 'What happens shows here at once.' },
    connecting: { Icon: RefreshCw, tone: 'pending', text: 'Connecting', title: 'The stream of events is being opened.' },
    reconnecting: { Icon: RefreshCw, tone: 'late', text: 'Reconnecting', title: 'The stream of events broke off and goes on at another node.' },
    stale: { Icon: CloudOff, tone: 'failed', text: `Stale ${duration(Math.max(0, Math.round((now - since) / 1000)))}`, title: 'No stream of events: the page asks every 5 seconds instead.' },
    paused: { Icon: Pause, tone: 'cancelled', text: 'Paused', title: 'Nobody saw this tab.' },
  }[mark]
  return (
    <span role="status" data-live={mark} title={look.title} className={`tone-${look.tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2.5 py-1 text-[13px] font-medium whitespace-nowrap text-(--tone)`}>
      <look.Icon size={14} aria-hidden />
      {look.text}
    </span>
  )
}
