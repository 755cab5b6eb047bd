import { createElement, Fragment, useMemo } from 'react'
import { blocks, type Block, type Inline } from '../core/markdown'

function Words({ of }: { of: Inline[] }) {
  return (
    <>
      {of.map((w, i) => {
        switch (w.kind) {
          case 'text': return <Fragment key={i}>{w.text}</Fragment>
          case 'code': return <code key={i} className="rounded bg-sunken px-1 py-px">{w.text}</code>
          case 'strong': return <strong key={i} className="font-semibold"><Words of={w.of} /></strong>
          case 'em': return <em key={i}><Words of={w.of} /></em>
          case 'del': return <del key={i}><Words of={w.of} /></del>
          case 'link': return <a key={i} href={w.href} target="_blank" rel="noreferrer noopener" className="text-accent underline underline-offset-2"><Words of={w.of} /></a>
          case 'break': return <br key={i} />
        }
      })}
    </>
  )
}

const sizes = ['text-[19px]', 'text-[17px]', 'text-[15px]', 'text-[14px]', 'text-[14px]', 'text-[14px]']
const sides = { left: 'text-left', right: 'text-right tabular', center: 'text-center' }

function Blocks({ of }: { of: Block[] }) {
  return (
    <>
      {of.map((b, i) => {
        switch (b.kind) {
          // Headings begin below those of the page.
          case 'heading': return createElement(`h${Math.min(6, b.level + 2)}`, { key: i, className: `mt-1 font-semibold ${sizes[b.level - 1]}` }, <Words of={b.of} />)
          case 'paragraph': return <p key={i} className="whitespace-pre-line"><Words of={b.of} /></p>
          case 'code': return <pre key={i} tabIndex={0} className="overflow-x-auto rounded-md bg-sunken p-3 text-[13px] leading-5">{b.text}</pre>
          case 'rule': return <hr key={i} className="border-line" />
          case 'quote': return <blockquote key={i} className="flex flex-col gap-2.5 border-l-3 border-line pl-3 text-muted"><Blocks of={b.of} /></blockquote>
          case 'list': {
            const items = b.items.map((item, k) => <li key={k}><Blocks of={item} /></li>)
            return b.ordered ? <ol key={i} start={b.start} className="flex list-decimal flex-col gap-0.5 pl-6">{items}</ol> : <ul key={i} className="flex list-disc flex-col gap-0.5 pl-6">{items}</ul>
          }
          case 'table':
            return (
              <div key={i} className="overflow-x-auto">
                <table className="border-collapse">
                  <thead><tr className="border-b border-line">{b.head.map((c, k) => <th key={k} scope="col" className={`py-1 pr-6 font-semibold last:pr-0 ${sides[b.align[k]!]}`}><Words of={c} /></th>)}</tr></thead>
                  <tbody>{b.rows.map((row, k) => <tr key={k} className="border-b border-line last:border-0">{row.map((c, n) => <td key={n} className={`py-1 pr-6 last:pr-0 ${sides[b.align[n]!]}`}><Words of={c} /></td>)}</tr>)}</tbody>
                </table>
              </div>
            )
        }
      })}
    </>
  )
}

/** Markdown shows a text of a run. It is drawn from parts, never as HTML. */
export function Markdown({ text }: { text: string }) {
  const parts = useMemo(() => blocks(text), [text])
  return <div className="flex max-w-[76ch] flex-col gap-2.5 break-words"><Blocks of={parts} /></div>
}
