import { useQuery } from '@tanstack/react-query'
import { exchange } from '../api/fetch'
import { Loaded } from './feedback'
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

/** RawJSON is an object as the API gives it, with the API's names. */
export function RawJSON({ path, label }: { path: string; label: string }) {
  const query = useQuery({ queryKey: ['raw', path], queryFn: async ({ signal }) => (await exchange('GET', path, { reads: true, signal })).value })
  return <Loaded query={query}>{(value) => <JSONView value={value} label={label} />}</Loaded>
}
