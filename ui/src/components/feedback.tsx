import { CircleAlert, RotateCw } from 'lucide-react'
import type { ReactNode } from 'react'
import { ApiError } from '../api/fetch'
import { Button } from './button'
import { CommandLine } from './copy'

/** Empty says what would be here and which command makes it. */
export function Empty({ title, children, command, action }: { title: string; children?: ReactNode; command?: string; action?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-3 px-4 py-10 text-center">
      <p className="text-[15px] font-semibold">{title}</p>
      {children && <div className="max-w-[52ch] text-muted">{children}</div>}
      {command && <CommandLine command={command} />}
      {action}
    </div>
  )
}

/** Failure says what went wrong, what to do, and under which number the server knows it. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const e = error instanceof ApiError ? error : new ApiError(error instanceof Error ? error.message : String(error), 0, 'internal', '', '')
  return (
    <div role="alert" className="tone-failed flex items-start gap-3 rounded-lg border border-line bg-(--tone-soft) p-3.5">
      <CircleAlert size={18} aria-hidden className="mt-0.5 shrink-0 text-(--tone)" />
      <div className="min-w-0 flex-1">
        <p className="font-medium break-words text-(--tone)">{e.message}</p>
        {e.hint && <p className="break-words">{e.hint}</p>}
        {e.requestId && (
          <p className="mt-1 text-[13px]">
            Request <code className="select-all">{e.requestId}</code>: the node's log has it.
          </p>
        )}
      </div>
      {retry && (
        <Button small onClick={retry}>
          <RotateCw size={14} aria-hidden /> Try again
        </Button>
      )}
    </div>
  )
}

export function Skeleton({ rows = 5, className = '' }: { rows?: number; className?: string }) {
  return (
    <div role="status" aria-label="Loading" className={`flex flex-col gap-3 p-4 ${className}`}>
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} aria-hidden className="flex gap-4">
          <span className="skeleton h-4" style={{ width: `${22 + ((i * 37) % 30)}%` }} />
          <span className="skeleton h-4" style={{ width: `${12 + ((i * 23) % 18)}%` }} />
        </div>
      ))}
    </div>
  )
}

interface Query<T> {
  data: T | undefined
  error: unknown
  isPending: boolean
  refetch: () => unknown
}

/** Loaded shows a query's value, or that it loads, or why it did not. What is old stays visible under an error. */
export function Loaded<T>({ query, rows, children }: { query: Query<T>; rows?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) {
    return (
      <>
        {query.error ? <div className="mb-3"><Failure error={query.error} retry={() => void query.refetch()} /></div> : null}
        {children(query.data)}
      </>
    )
  }
  if (query.error) return <div className="p-4"><Failure error={query.error} retry={() => void query.refetch()} /></div>
  return <Skeleton rows={rows} />
}
