import { useQueryClient } from '@tanstack/react-query'
import { Link2, Pencil, Star, StarOff, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { setPreference, usePreferences } from '../app/preferences'
import { address } from '../api/fetch'
import { deleteSearch, saveSearch, searchText, type SavedSearch } from '../api/system'
import { Button, IconButton } from './button'
import { copy } from './copy'
import { Dialog } from './dialog'
import { Input } from './field'
import { tell, tellFailure } from './toasts'

/** ManageSearches renames and deletes what everybody sees, and chooses with which search this browser opens the runs. */
export function ManageSearches({ all, onClose, onChoose }: { all: SavedSearch[]; onClose: () => void; onChoose: (text: string) => void }) {
  const cache = useQueryClient()
  const { search } = usePreferences()
  const [renaming, setRenaming] = useState<string | null>(null)
  const [name, setName] = useState('')
  const changed = () => cache.invalidateQueries({ queryKey: ['saved-searches'] })
  // The name is what the API knows a search by: under another name it is another one.
  const rename = async (s: SavedSearch) => {
    const to = name.trim()
    setRenaming(null)
    if (!to || to === s.name) return
    if (all.some((o) => o.name === to)) return tell(`There is a search ${to} already.`, true)
    try {
      await saveSearch(to, searchText(s))
      await deleteSearch(s.id)
      if (search === s.name) setPreference('search', to)
      await changed()
    } catch (e) {
      tellFailure(e)
    }
  }
  return (
    <Dialog title="Saved searches" onClose={onClose} wide>
      <ul className="-m-2 flex flex-col divide-y divide-line">
        {all.map((s) => (
          <li key={s.id} className="flex flex-wrap items-center gap-x-3 gap-y-1 px-2 py-2">
            {renaming === s.id ? (
              <form className="flex flex-1 gap-2" onSubmit={(e) => { e.preventDefault(); void rename(s) }}>
                <Input aria-label={`New name of ${s.name}`} autoFocus value={name} onChange={(e) => setName(e.target.value)} />
                <Button type="submit">Rename</Button>
              </form>
            ) : (
              <span className="min-w-40 flex-1">
                <button type="button" className="font-medium hover:underline" onClick={() => onChoose(searchText(s))}>{s.name}</button>
                {search === s.name && <span className="tone-completed ml-2 rounded-full bg-(--tone-soft) px-2 text-[13px] text-(--tone)">default here</span>}
                <code className="block text-[13px] break-all text-muted">{searchText(s)}</code>
              </span>
            )}
            <span className="flex">
              <IconButton label={search === s.name ? `Do not open runs with ${s.name}` : `Open runs with ${s.name}`} onClick={() => setPreference('search', search === s.name ? '' : s.name)}>{search === s.name ? <StarOff size={15} aria-hidden /> : <Star size={15} aria-hidden />}</IconButton>
              <IconButton label={`Copy a link to ${s.name}`} onClick={() => void copy(address(`runs?q=${encodeURIComponent(searchText(s))}`)).then(() => tell('Copied the link.'))}><Link2 size={15} aria-hidden /></IconButton>
              <IconButton label={`Rename ${s.name}`} onClick={() => { setRenaming(s.id); setName(s.name) }}><Pencil size={15} aria-hidden /></IconButton>
              <IconButton label={`Delete ${s.name}`} onClick={() => void deleteSearch(s.id).then(() => { if (search === s.name) setPreference('search', ''); return changed() }, tellFailure)}><Trash2 size={15} aria-hidden /></IconButton>
            </span>
          </li>
        ))}
        {all.length === 0 && <li className="px-2 py-4 text-muted">None is left.</li>}
      </ul>
    </Dialog>
  )
}
