import { CircleAlert, CircleCheck, X } from 'lucide-react'
import { useSyncExternalStore, type ReactNode } from 'react'
import { ApiError } from '../api/fetch'
import { IconButton } from './button'

interface Toast {
  id: number
  bad: boolean
  content: ReactNode
}

let toasts: Toast[] = []
let last = 0
const listeners = new Set<() => void>()

function change(next: Toast[]) {
  toasts = next
  for (const l of listeners) l()
}

const dismiss = (id: number) => change(toasts.filter((t) => t.id !== id))

/** tell shows something for ten seconds. */
export function tell(content: ReactNode, bad = false) {
  const id = ++last
  change([...toasts.slice(-3), { id, bad, content }])
  setTimeout(() => dismiss(id), 10_000)
}

export function tellFailure(error: unknown) {
  const e = error as Error
  tell(
    <>
      {e.message} {error instanceof ApiError && error.hint}
      {error instanceof ApiError && error.requestId && <span className="block text-[13px]">Request <code>{error.requestId}</code></span>}
    </>,
    true,
  )
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (l) => {
      listeners.add(l)
      return () => listeners.delete(l)
    },
    () => toasts,
  )
  return (
    <div aria-live="polite" role="status" className="pointer-events-none fixed right-4 bottom-4 z-50 flex w-[min(420px,calc(100vw-32px))] flex-col gap-2">
      {shown.map((t) => (
        <div key={t.id} className={`pointer-events-auto flex items-start gap-2.5 rounded-lg border border-line bg-surface p-3 shadow-lg ${t.bad ? 'tone-failed' : 'tone-completed'}`}>
          {t.bad ? <CircleAlert size={17} className="mt-0.5 shrink-0 text-(--tone)" aria-hidden /> : <CircleCheck size={17} className="mt-0.5 shrink-0 text-(--tone)" aria-hidden />}
          <div className="min-w-0 flex-1 break-words">{t.content}</div>
          <IconButton label="Dismiss" className="-m-1" onClick={() => dismiss(t.id)}>
            <X size={14} aria-hidden />
          </IconButton>
        </div>
      ))}
    </div>
  )
}
