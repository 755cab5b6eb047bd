import { printJSON } from '../core/json'
import { CopyButton } from './copy'

export function JSONView({ value, label }: { value: unknown; label: string }) {
  const text = printJSON(value)
  return (
    <div className="relative">
      <pre tabIndex={0} role="region" aria-label={label} className="max-h-96 overflow-auto rounded-md bg-sunken p-3 pr-10 text-[13px] leading-5">{text}</pre>
      <span className="absolute top-1.5 right-1.5"><CopyButton text={text} label={`Copy ${label}`} /></span>
    </div>
  )
}
