import { Dialog } from '../components/dialog'
import { setPreference, usePreferences } from './preferences'
import { Switch } from '../components/field'
import { places } from './keys'

const others: [string, string][] = [
  ['Ctrl K', 'search and commands'], ['/', 'to the filter'], ['j  k', 'next and previous row'], ['Enter', 'open the row'], ['x', 'select the row; Shift-click selects a range'],
  ['J  K', 'select while going on'], ['.', 'what else can be done'], ['r', 'run, or run again'], ['c', 'cancel'], ['[  ]', 'previous and next run'], ['Esc', 'close'], ['?', 'this list'],
]

export default function Help({ onClose }: { onClose: () => void }) {
  const { keys } = usePreferences()
  const list = (items: [string, string][]) => (
    <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5">
      {items.map(([key, what]) => (
        <div key={key} className="contents">
          <dt className="text-right whitespace-pre"><kbd className="rounded border border-line bg-sunken px-1.5 py-0.5">{key}</kbd></dt>
          <dd>{what}</dd>
        </div>
      ))}
    </dl>
  )
  return (
    <Dialog title="Keyboard" onClose={onClose} wide>
      <div className="grid gap-8 sm:grid-cols-2">
        {list(others)}
        {list(places.map((p) => [`g ${p.letter}`, p.label]))}
      </div>
      <div className="mt-5 border-t border-line pt-4">
        <Switch on={keys} onChange={(on) => setPreference('keys', on)} label="Single letters are shortcuts" showLabel />
      </div>
    </Dialog>
  )
}
