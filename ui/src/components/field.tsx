import { useId, type ComponentProps, type ReactNode } from 'react'
import { useMay, type Role } from '../app/may'

export const inputClass =
  'w-full rounded-md border border-strong bg-surface px-2.5 text-text aria-invalid:border-danger disabled:opacity-60'

interface FieldProps {
  label: string
  hint?: ReactNode
  error?: string | null
  required?: boolean
  children: (attributes: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: true; required?: boolean }) => ReactNode
}

/** Field is a control with its name, what to put there, and what is wrong with it. */
export function Field({ label, hint, error, required, children }: FieldProps) {
  const id = useId()
  const about = [error ? `${id}-e` : '', hint ? `${id}-h` : ''].filter(Boolean).join(' ')
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
        {required && <span className="font-normal text-muted"> (required)</span>}
      </label>
      {children({ id, ...(about ? { 'aria-describedby': about } : {}), ...(error ? { 'aria-invalid': true } : {}) })}
      {hint && <p id={`${id}-h`} className="text-[13px] text-muted">{hint}</p>}
      {error && <p id={`${id}-e`} className="text-[13px] text-danger">{error}</p>}
    </div>
  )
}

export const Input = (p: ComponentProps<'input'>) => <input {...p} className={`${inputClass} h-8.5 ${p.className ?? ''}`} />
export const Textarea = (p: ComponentProps<'textarea'>) => <textarea {...p} className={`${inputClass} py-1.5 ${p.className ?? ''}`} />
export const Select = (p: ComponentProps<'select'>) => <select {...p} className={`${inputClass} h-8.5 ${p.className ?? ''}`} />

/** Switch is on or off, at once. */
export function Switch({ on, label, onChange, disabled: off, showLabel, needs }: { on: boolean; label: string; onChange: (on: boolean) => void; disabled?: boolean; showLabel?: boolean; needs?: Role }) {
  const may = useMay()
  const disabled = off || (needs !== undefined && !may(needs))
  return (
    <button type="button" role="switch" aria-checked={on} aria-label={label} disabled={disabled} onClick={() => onChange(!on)} className="inline-flex items-center gap-2 disabled:opacity-50">
      <span className={`relative inline-block h-4.5 w-8 shrink-0 rounded-full border ${on ? 'border-accent bg-accent' : 'border-strong bg-sunken'}`}>
        <span className={`absolute top-[2px] size-3 rounded-full ${on ? 'left-[15px] bg-on-accent' : 'left-[2px] bg-strong'}`} />
      </span>
      {showLabel && <span>{label}</span>}
    </button>
  )
}
