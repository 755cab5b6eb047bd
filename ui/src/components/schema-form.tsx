import { useState } from 'react'
import { printJSON } from '../core/json'
import { get, read, secret, set, type FormField, type Schema } from '../core/schema-form'
import { Field, Input, Select, Textarea } from './field'

interface Props {
  fields: FormField[]
  /** names secret fields (secret_fields) */
  root?: Schema
  value: unknown
  problems: Map<string, string>
  onChange: (value: Record<string, unknown>) => void
}

/** SchemaForm shows and changes a JSON value by its schema. */
export function SchemaForm({ fields, root, value, problems, onChange }: Props) {
  return (
    <div className="flex flex-col gap-4">
      {fields.map((f) =>
        f.kind === 'object' ? (
          <fieldset key={f.path.join('.')} className="rounded-md border border-line p-3">
            <legend className="px-1 font-medium">{f.label}</legend>
            {f.about && <p className="mb-2 text-[13px] text-muted">{f.about}</p>}
            <SchemaForm fields={f.fields} root={root} value={value} problems={problems} onChange={onChange} />
          </fieldset>
        ) : (
          <OneField key={f.path.join('.')} field={f} hidden={secret(f, root)} value={get(value, f.path)} problem={problems.get(f.path.join('.')) ?? null} onChange={(v) => onChange(set(value, f.path, v))} />
        ),
      )}
    </div>
  )
}

function OneField({ field: f, hidden, value, problem, onChange }: { field: FormField; hidden: boolean; value: unknown; problem: string | null; onChange: (value: unknown) => void }) {
  // What cannot be read as a value yet stays here; everything else is the value's own text.
  const [draft, setDraft] = useState<{ text: string; problem: string } | null>(null)
  const fallback = f.schema.default === undefined ? '' : `Default: ${printJSON(f.schema.default, 0)}`
  const hint = [f.about, fallback].filter(Boolean).join(' ')
  const type = (text: string) => {
    const r = read(f, text)
    if ('problem' in r) setDraft({ text, problem: r.problem })
    else {
      setDraft(null)
      onChange(r.value === '' && !f.needed ? undefined : r.value)
    }
  }
  return (
    <Field label={f.label} hint={hint || undefined} error={draft?.problem ?? problem} required={f.needed && f.schema.default === undefined}>
      {(a) => {
        switch (f.kind) {
          case 'boolean':
          case 'choice': {
            const choices = f.kind === 'boolean' ? [true, false] : f.choices
            const at = choices.findIndex((c) => c === value)
            return (
              <Select {...a} value={at} onChange={(e) => onChange(Number(e.target.value) < 0 ? undefined : choices[Number(e.target.value)])}>
                <option value={-1}>{f.schema.default === undefined ? '–' : `default (${printJSON(f.schema.default, 0)})`}</option>
                {choices.map((c, i) => <option key={i} value={i}>{String(c)}</option>)}
              </Select>
            )
          }
          case 'list':
            return (
              <Textarea {...a} rows={3} placeholder="one a line" value={Array.isArray(value) ? value.map(String).join('\n') : ''}
                onChange={(e) => {
                  const lines = e.target.value.split('\n')
                  onChange(e.target.value === '' ? undefined : f.schema.items?.type === 'string' ? lines : lines.map((l) => {
                    const r = l.trim() === '' ? null : read({ kind: f.schema.items?.type === 'integer' ? 'integer' : 'number', schema: {} }, l)
                    return r && 'value' in r ? r.value : l
                  }))
                }} />
            )
          case 'json':
            return <Textarea {...a} rows={3} spellCheck={false} className="font-mono" placeholder={f.schema.default === undefined ? 'JSON' : printJSON(f.schema.default, 0)} defaultValue={value === undefined ? '' : printJSON(value)} onChange={(e) => type(e.target.value)} />
          default:
            return <Input {...a} type={hidden ? 'password' : undefined} autoComplete={hidden ? 'new-password' : undefined} inputMode={f.kind === 'text' || f.kind === 'date-time' ? undefined : 'decimal'} placeholder={f.kind === 'date-time' ? '2026-01-31T12:00:00Z' : undefined} value={draft?.text ?? (value === undefined || value === null ? '' : String(value))} onChange={(e) => type(e.target.value)} />
        }
      }}
    </Field>
  )
}
