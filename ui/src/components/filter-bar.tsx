import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Bookmark, Search, Settings2, X } from 'lucide-react'
import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from 'react'
import { savedSearches, saveSearch, searchText } from '../api/system'
import { criteria, keys, print, scan, stateWords, toggle, type Problem, type RunFilter } from '../core/filter'
import { Button, IconButton } from './button'
import { Dialog } from './dialog'
import { Failure } from './feedback'
import { Field, Input } from './field'
import { Menu } from './menu'
import { useNames } from './names'
import { ManageSearches } from './saved-searches'
import { tell } from './toasts'

/** useRunFilter is what the text of a filter bar asks of the API. Moments like newer:1h move on with the minute. */
export function useRunFilter(text: string): { filter: RunFilter; problems: Problem[] } {
  const { queues } = useNames()
  const minute = Math.floor(Date.now() / 60_000)
  return useMemo(() => criteria(text, { queues: queues ? Object.fromEntries(queues.map((q) => [q.name, q.id])) : null, now: minute * 60_000 }), [text, queues, minute])
}

const chips: [string, string[]][] = [['Failed', ['failed']], ['Running', ['running']], ['Late', ['late']], ['Scheduled', ['scheduled']], ['Completed', ['completed']]]

/** FilterBar is a line of tokens with suggestions, chips for the usual ones, and searches that were saved. */
export function FilterBar({ text, onChange }: { text: string; onChange: (text: string) => void }) {
  const [draft, setDraft] = useState(text)
  const [open, setOpen] = useState(false)
  const [at, setAt] = useState(0)
  const [saving, setSaving] = useState(false)
  const [managing, setManaging] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const list = useId()
  const names = useNames()
  const saved = useQuery(savedSearches())
  useEffect(() => setDraft(text), [text])
  const { problems } = useRunFilter(draft)

  const word = /(\S*)$/.exec(draft)![1]!
  const suggestions = useMemo(() => {
    const [, key, value] = /^([a-z_]+):(?:.*\|)?(.*)$/i.exec(word) ?? []
    const start = word.slice(0, word.length - (value?.length ?? word.length))
    const from = (all: string[]) => all.filter((v) => v.toLowerCase().includes((value ?? '').toLowerCase()) && v !== value).slice(0, 8).map((v) => ({ insert: start + (/[\s|"]/.test(v) ? JSON.stringify(v) : v) + ' ', label: v, about: '' }))
    const first = key && scan(`${key}:x`).tokens[0]?.key
    switch (first) {
      case 'state': return from(stateWords)
      case 'flow': return from([...new Set((names.deployments ?? []).map((d) => names.flowName(d.flowId) ?? '').filter(Boolean))])
      case 'deployment': return from((names.deployments ?? []).map((d) => d.name))
      case 'queue': return from((names.queues ?? []).map((q) => q.name))
      case 'tag': return from([...new Set((names.deployments ?? []).flatMap((d) => d.tags))])
      case undefined: break
      default: return []
    }
    return keys.filter((k) => k.key.startsWith(word.toLowerCase())).map((k) => ({ insert: `${k.key}:`, label: k.example, about: k.about }))
  }, [word, names])

  const submit = (value: string) => {
    setOpen(false)
    onChange(print(scan(value).tokens) || '')
  }
  const take = (i: number) => {
    const s = suggestions[i]
    if (!s) return
    setDraft(draft.slice(0, draft.length - word.length) + s.insert)
    setAt(0)
    input.current?.focus()
  }
  const onKey = (e: KeyboardEvent) => {
    const n = suggestions.length
    if (e.key === 'ArrowDown' && n > 0) { e.preventDefault(); setOpen(true); setAt((at + 1) % n) }
    else if (e.key === 'ArrowUp' && n > 0) { e.preventDefault(); setAt((at + n - 1) % n) }
    else if (e.key === 'Tab' && open && n > 0 && word !== '') { e.preventDefault(); take(at) }
    else if (e.key === 'Escape') { setOpen(false); if (!open) input.current?.blur() }
    else if (e.key === 'Enter') {
      e.preventDefault()
      // A key without its value is not asked for yet.
      if (open && suggestions[at] && /:$/.test(suggestions[at].insert) && word !== '') take(at)
      else submit(draft)
    }
  }
  const active = scan(text).tokens
  return (
    <div className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center gap-2">
        <div className="relative min-w-60 flex-1">
          <Search size={15} aria-hidden className="absolute top-2.5 left-2.5 text-muted" />
          <Input
            ref={input} data-search role="combobox" aria-expanded={open && suggestions.length > 0} aria-controls={list} aria-activedescendant={open && suggestions[at] ? `${list}-${at}` : undefined} aria-autocomplete="list" aria-label="Filter flow runs" aria-invalid={problems.length > 0 && !open ? true : undefined}
            autoComplete="off" spellCheck={false} placeholder="state:failed tag:prod newer:6h, or the name of a run" className="pr-8 pl-8"
            value={draft}
            onChange={(e) => { setDraft(e.target.value); setOpen(true); setAt(0) }}
            onFocus={() => setOpen(true)}
            onBlur={() => setTimeout(() => setOpen(false), 120)}
            onKeyDown={onKey}
          />
          {draft && <IconButton label="Clear the filter" className="absolute top-0.5 right-0.5" onClick={() => { setDraft(''); submit('') }}><X size={14} aria-hidden /></IconButton>}
          <ul id={list} role="listbox" aria-label="Suggestions" hidden={!open || suggestions.length === 0} className="absolute inset-x-0 top-full z-30 mt-1 max-h-80 overflow-y-auto rounded-lg border border-line bg-surface p-1 shadow-xl">
            {suggestions.map((s, i) => (
              <li key={s.label} id={`${list}-${i}`} role="option" aria-selected={i === at} onMouseDown={(e) => { e.preventDefault(); take(i) }} className={`flex cursor-pointer items-baseline gap-3 rounded px-2.5 py-1.5 ${i === at ? 'bg-accent-soft' : ''}`}>
                <code className="whitespace-nowrap">{s.label}</code>
                <span className="truncate text-[13px] text-muted">{s.about}</span>
              </li>
            ))}
          </ul>
        </div>
        <Menu
          label="Saved searches"
          trigger={<Button><Bookmark size={15} aria-hidden /> Saved</Button>}
          items={[
            ...(saved.data ?? []).filter((s) => searchText(s)).map((s) => ({ label: s.name, onSelect: () => onChange(searchText(s)) })),
            { label: 'Save this search…', needs: 'operator' as const, icon: <Bookmark size={15} aria-hidden />, disabled: active.length === 0, onSelect: () => setSaving(true) },
            (saved.data?.length ?? 0) > 0 && { label: 'Rename, delete, set a default…', icon: <Settings2 size={15} aria-hidden />, onSelect: () => setManaging(true) },
          ]}
        />
      </div>
      <div className="flex flex-wrap gap-1.5">
        {chips.map(([label, values]) => {
          const on = active.some((t) => t.key === 'state' && t.values.join() === values.join())
          return (
            <button key={label} type="button" aria-pressed={on} onClick={() => onChange(toggle(text, 'state', values))} className={`rounded-full border px-2.5 py-0.5 text-[13px] ${on ? 'border-accent bg-accent-soft font-medium text-accent' : 'border-line bg-surface text-muted hover:border-strong hover:text-text'}`}>
              {label}
            </button>
          )
        })}
        {['1h', '24h', '7d'].map((s) => {
          const on = active.some((t) => t.key === 'newer' && t.values[0] === s)
          return (
            <button key={s} type="button" aria-pressed={on} onClick={() => onChange(toggle(text, 'newer', [s]))} className={`rounded-full border px-2.5 py-0.5 text-[13px] ${on ? 'border-accent bg-accent-soft font-medium text-accent' : 'border-line bg-surface text-muted hover:border-strong hover:text-text'}`}>
              last {s}
            </button>
          )
        })}
      </div>
      {problems.length > 0 && !open && (
        <div role="alert" className="text-[13px] text-danger">
          {problems.map((p) => <p key={p.from}>At “{draft.slice(p.from, p.to)}”: {p.message}</p>)}
        </div>
      )}
      {managing && <ManageSearches all={(saved.data ?? []).filter((s) => searchText(s))} onClose={() => setManaging(false)} onChoose={(t) => { setManaging(false); onChange(t) }} />}
      {saving && <SaveSearch text={text} onClose={() => setSaving(false)} />}
    </div>
  )
}

function SaveSearch({ text, onClose }: { text: string; onClose: () => void }) {
  const [name, setName] = useState('')
  const [error, setError] = useState<unknown>(null)
  const cache = useQueryClient()
  return (
    <Dialog title="Save this search" onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(e) => {
          e.preventDefault()
          saveSearch(name.trim(), text).then(() => {
            void cache.invalidateQueries({ queryKey: ['saved-searches'] })
            tell(`Saved the search ${name.trim()}.`)
            onClose()
          }, setError)
        }}
      >
        <p><code>{text}</code></p>
        <Field label="Name" hint="Everybody who uses this cluster sees it. The same name replaces it.">{(a) => <Input {...a} data-autofocus required value={name} onChange={(e) => setName(e.target.value)} />}</Field>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="primary" type="submit" disabled={!name.trim()}>Save</Button></div>
      </form>
    </Dialog>
  )
}
