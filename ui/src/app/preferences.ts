// What people chose for this browser.
import { useSyncExternalStore } from 'react'

export interface Preferences {
  theme: 'system' | 'light' | 'dark'
  palette: 'standard' | 'lightness'
  /** schedule is the zone of the schedule that a page is about, local where there is none */
  zone: 'local' | 'utc' | 'schedule'
  /** letters as shortcuts; some people's speech input types letters */
  keys: boolean
  /** the saved search with which the runs open; none is all of them */
  search: string
}

const key = 'sluice.preferences'
const initial: Preferences = { theme: 'system', palette: 'standard', zone: 'local', keys: true, search: '' }

function load(): Preferences {
  try {
    return { ...initial, ...(JSON.parse(localStorage.getItem(key) ?? '{}') as Partial<Preferences>) }
  } catch {
    return initial
  }
}

let current = load()
const listeners = new Set<() => void>()

function apply() {
  const root = document.documentElement
  if (current.theme === 'system') delete root.dataset.theme
  else root.dataset.theme = current.theme
  root.dataset.palette = current.palette
}

apply()

export function setPreference<K extends keyof Preferences>(name: K, value: Preferences[K]) {
  current = { ...current, [name]: value }
  localStorage.setItem(key, JSON.stringify(current))
  apply()
  for (const l of listeners) l()
}

export const preferences = () => current

export function usePreferences(): Preferences {
  return useSyncExternalStore(
    (l) => {
      listeners.add(l)
      return () => listeners.delete(l)
    },
    () => current,
  )
}
