import { prose } from '../core/prose'
import { absolute, relative } from '../core/time'
import { useNow, useZone } from './time'

/** Moment is a time within a sentence: the time itself, and how far it is. */
function Moment({ at }: { at: string }) {
  const now = useNow()
  const zone = useZone()
  const t = Date.parse(at)
  return <><time dateTime={at} title={at} className="tabular">{absolute(t, zone)}</time> ({relative(t, now)})</>
}

/** Prose is a sentence of the server: its commands as code, its times in the chosen zone. */
export function Prose({ text }: { text: string }) {
  return (
    <>
      {prose(text).map((p, i) =>
        p.kind === 'code' ? <code key={i} className="rounded bg-sunken px-1 py-px">{p.text}</code> : p.kind === 'time' ? <Moment key={i} at={p.text} /> : p.text,
      )}
    </>
  )
}
