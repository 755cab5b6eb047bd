import { X } from 'lucide-react'
import { useEffect, useId, useRef, type ReactNode } from 'react'
import { Button, IconButton } from './button'

/** Dialog is the browser's own: it keeps the focus, closes with Esc and needs no style that the content policy would refuse. */
export function Dialog({ title, onClose, children, wide }: { title: string; onClose: () => void; children: ReactNode; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null)
  const heading = useId()
  useEffect(() => {
    const dialog = ref.current
    const before = document.activeElement as HTMLElement | null
    if (dialog && !dialog.open) dialog.showModal()
    dialog?.querySelector<HTMLElement>('[data-autofocus]')?.focus()
    return () => {
      dialog?.close()
      before?.focus?.()
    }
  }, [])
  return (
    <dialog
      ref={ref}
      aria-labelledby={heading}
      onCancel={(e) => {
        e.preventDefault()
        onClose()
      }}
      onMouseDown={(e) => {
        if (e.target === ref.current) onClose()
      }}
      className={`w-[calc(100vw-24px)] rounded-xl border border-line bg-surface p-0 shadow-2xl ${wide ? 'max-w-[760px]' : 'max-w-[520px]'}`}
    >
      <div className="flex items-center justify-between gap-3 border-b border-line py-2.5 pr-2.5 pl-5">
        <h2 id={heading} className="text-base font-semibold">{title}</h2>
        <IconButton label="Close" onClick={onClose}>
          <X size={16} aria-hidden />
        </IconButton>
      </div>
      <div className="p-5">{children}</div>
    </dialog>
  )
}

/** Confirm asks before something that cannot be taken back. */
export function Confirm({ title, children, action, onConfirm, onClose, busy, error }: { title: string; children: ReactNode; action: string; onConfirm: () => void; onClose: () => void; busy?: boolean; error?: ReactNode }) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="flex flex-col gap-3">{children}</div>
      {error && <div className="mt-3">{error}</div>}
      <div className="mt-5 flex justify-end gap-2">
        <Button onClick={onClose} data-autofocus>Cancel</Button>
        <Button kind="danger" onClick={onConfirm} disabled={busy}>
          {action}
        </Button>
      </div>
    </Dialog>
  )
}
