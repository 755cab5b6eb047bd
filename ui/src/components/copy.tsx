import { Check, Copy } from 'lucide-react'
import { useState } from 'react'
import { IconButton } from './button'

// navigator.clipboard is missing on pages that did not come by HTTPS.
/** copy puts a text where people paste from. */
export async function copy(text: string) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  const area = document.createElement('textarea')
  area.value = text
  const open = document.querySelector('dialog[open]') ?? document.body
  open.append(area)
  area.select()
  document.execCommand('copy')
  area.remove()
}

export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false)
  return (
    <IconButton
      label={done ? 'Copied' : label}
      className="size-7 shrink-0"
      onClick={(e) => {
        e.preventDefault()
        e.stopPropagation()
        void copy(text).then(() => {
          setDone(true)
          setTimeout(() => setDone(false), 1500)
        })
      }}
    >
      {done ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />}
    </IconButton>
  )
}

/** CommandLine is a command to type, ready to be copied. */
export function CommandLine({ command }: { command: string }) {
  return (
    <div className="flex max-w-full items-start gap-1 rounded-md border border-line bg-sunken py-0.5 pr-0.5 pl-3 text-left">
      <code tabIndex={0} aria-label={`command: ${command}`} role="group" className="min-w-0 flex-1 py-1 [overflow-wrap:anywhere] whitespace-pre-wrap">
        <span aria-hidden className="text-muted select-none">$ </span>{command}
      </code>
      <CopyButton text={command} label="Copy the command" />
    </div>
  )
}

/** Id is short to read and whole to copy. */
export function Id({ id }: { id: string }) {
  return (
    <span className="inline-flex items-center gap-0.5">
      <code title={id} className="truncate">{id.slice(0, 8)}…{id.slice(-4)}</code>
      <CopyButton text={id} label="Copy the id" />
    </span>
  )
}
