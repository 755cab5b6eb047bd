import type { ButtonHTMLAttributes, ReactNode } from 'react'
import { useMay, type Role } from '../app/may'

type Kind = 'primary' | 'plain' | 'quiet' | 'danger'

const kinds: Record<Kind, string> = {
  primary: 'bg-accent text-on-accent border-transparent hover:brightness-110',
  plain: 'bg-surface border-line text-text hover:bg-sunken',
  quiet: 'border-transparent text-muted hover:bg-sunken hover:text-text',
  danger: 'bg-surface border-line text-danger hover:bg-sunken',
}

export const buttonClass = (kind: Kind = 'plain', small = false) =>
  `inline-flex items-center justify-center gap-1.5 rounded-md border font-medium whitespace-nowrap no-underline disabled:cursor-not-allowed disabled:opacity-55 ${small ? 'h-7 px-2 text-[13px]' : 'h-8.5 px-3'} ${kinds[kind]}`

interface Needs {
  /** the role that what it does needs: it is not there for who lacks it */
  needs?: Role
}

/** Needing shows what is inside to who has the role. */
export function Needing({ needs, children }: Required<Needs> & { children: ReactNode }) {
  return useMay()(needs) ? children : null
}

export function Button({ kind = 'plain', small, className = '', needs, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { kind?: Kind; small?: boolean } & Needs) {
  if (needs) return <Needing needs={needs}><Button kind={kind} small={small} className={className} {...rest} /></Needing>
  return <button type="button" {...rest} className={`${buttonClass(kind, small)} ${className}`} />
}

/** IconButton has a label for those who do not see its icon. */
export function IconButton({ label, children, className = '', needs, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { label: string; children: ReactNode } & Needs) {
  if (needs) return <Needing needs={needs}><IconButton label={label} className={className} {...rest}>{children}</IconButton></Needing>
  return (
    <button type="button" {...rest} aria-label={label} title={label} className={`inline-flex size-8 items-center justify-center rounded-md text-muted hover:bg-sunken hover:text-text disabled:opacity-50 ${className}`}>
      {children}
    </button>
  )
}
