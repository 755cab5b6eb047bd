import { useState } from 'react'
import type { JobRequest } from '../api/runs'
import { lookOf, stateTypes, type StateType } from '../core/states'
import { Button } from './button'
import { Dialog } from './dialog'
import { Failure } from './feedback'
import { Field, Input, Select } from './field'
import { tell } from './toasts'

export interface ChosenState {
  type: StateType
  name?: string
  message: string
  force: boolean
}

export const stateRequest = (s: ChosenState): Pick<JobRequest, 'state' | 'message' | 'force'> => ({ state: { type: s.type, ...(s.name ? { name: s.name } : {}) }, message: s.message || undefined, force: s.force })

const choices: { type: StateType; name?: string }[] = [...stateTypes.map((type) => ({ type })), { type: 'FAILED', name: 'Crashed' }]

/** StateChoice is which state somebody wants, why, and whether against the rules. */
export function StateChoice({ value, onChange }: { value: ChosenState; onChange: (v: ChosenState) => void }) {
  const at = choices.findIndex((c) => c.type === value.type && c.name === value.name)
  return (
    <div className="flex flex-col gap-4">
      <Field label="State">{(a) => <Select {...a} value={at} onChange={(e) => onChange({ ...value, name: undefined, ...choices[Number(e.target.value)]! })}>{choices.map((c, i) => <option key={i} value={i}>{lookOf(c.type, c.name).label}</option>)}</Select>}</Field>
      <Field label="Message" hint="Kept with the state, beside your name.">{(a) => <Input {...a} value={value.message} onChange={(e) => onChange({ ...value, message: e.target.value })} />}</Field>
      <label className="flex items-center gap-2"><input type="checkbox" checked={value.force} onChange={(e) => onChange({ ...value, force: e.target.checked })} /> Also against the rules, in place of a final state</label>
    </div>
  )
}

/** SetState sets the state of one run by hand. */
export function SetState({ name, set, onClose, onDone, start = { type: 'CANCELLED', message: '', force: false } }: { name: string; set: (r: Pick<JobRequest, 'state' | 'message' | 'force'>) => Promise<{ status: string; details: { reason?: string | null } }>; onClose: () => void; onDone: () => void; start?: ChosenState }) {
  const [value, setValue] = useState(start)
  const [error, setError] = useState<unknown>(null)
  const save = async () => {
    try {
      const r = await set(stateRequest(value))
      if (r.status !== 'ACCEPT') throw new Error(r.details.reason ?? 'The rules do not allow this state now. Tick “against the rules” to set it all the same.')
      tell(`${name} is ${lookOf(value.type, value.name).label.toLowerCase()} now.`)
      onDone()
    } catch (e) {
      setError(e)
    }
  }
  return (
    <Dialog title={`Set the state of ${name}`} onClose={onClose}>
      <form className="flex flex-col gap-4" onSubmit={(e) => { e.preventDefault(); void save() }}>
        <StateChoice value={value} onChange={setValue} />
        <p className="text-muted">Nobody who executes it is told to stop; whoever reports on it later is refused.</p>
        {error ? <Failure error={error} /> : null}
        <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button kind="danger" type="submit">Set the state</Button></div>
      </form>
    </Dialog>
  )
}
