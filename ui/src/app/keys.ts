// The keyboard: g and a letter goes to a page, j and k to a row, Enter opens it, x selects it, ? tells all of that.

export const places: { letter: string; to: string; label: string }[] = [
  { letter: 'h', to: '/', label: 'Dashboard' },
  { letter: 'r', to: '/runs', label: 'Runs' },
  { letter: 'f', to: '/flows', label: 'Flows' },
  { letter: 'd', to: '/deployments', label: 'Deployments' },
  { letter: 'q', to: '/queues', label: 'Work queues' },
  { letter: 'a', to: '/agents', label: 'Agents' },
  { letter: 'e', to: '/artifacts', label: 'Artifacts' },
  { letter: 'n', to: '/webhooks', label: 'Notifications' },
  { letter: 'c', to: '/cluster', label: 'Cluster' },
  { letter: 's', to: '/storage', label: 'Storage' },
  { letter: 'l', to: '/limits', label: 'Concurrency limits' },
  { letter: 't', to: '/access', label: 'Tokens and audit' },
  { letter: ',', to: '/settings', label: 'Settings' },
]

export interface Actions {
  go: (to: string) => void
  palette: () => void
  help: () => void
  search: () => void
  letters: () => boolean
}

function typing(target: EventTarget | null): boolean {
  const e = target as HTMLElement | null
  return !!e?.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable], [role=menu]')
}

function moveRow(step: number) {
  const rows = [...document.querySelectorAll<HTMLElement>('main [data-row]')]
  if (rows.length === 0) return
  const at = rows.findIndex((r) => r.hasAttribute('data-current'))
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step))]!
  rows[at]?.removeAttribute('data-current')
  next.setAttribute('data-current', '')
  next.scrollIntoView({ block: 'nearest' })
  next.querySelector<HTMLElement>('a[href]')?.focus({ preventScroll: true })
}

const currentRow = () => document.querySelector<HTMLElement>('main [data-row][data-current]')

/** listen acts on keys until the returned function is called. */
export function listen(actions: Actions): () => void {
  let leading = false
  let forget: ReturnType<typeof setTimeout> | null = null
  const onKey = (e: KeyboardEvent) => {
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === 'k') {
      e.preventDefault()
      actions.palette()
      return
    }
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e.target) || document.querySelector('dialog[open]') || !actions.letters()) return
    const led = leading
    leading = false
    if (forget) clearTimeout(forget)
    if (led) {
      const place = places.find((p) => p.letter === e.key)
      if (place) {
        e.preventDefault()
        actions.go(place.to)
      }
      return
    }
    const button = (name: string) => document.querySelector<HTMLElement>(`main [data-key="${name}"]:not(:disabled)`)
    switch (e.key) {
      case 'g':
        leading = true
        forget = setTimeout(() => (leading = false), 1500)
        return
      case 'j': moveRow(1); break
      case 'k': moveRow(-1); break
      case 'x': currentRow()?.querySelector<HTMLElement>('[data-row-check]')?.click(); break
      case 'Enter':
        if (e.target !== document.body) return
        currentRow()?.querySelector<HTMLElement>('a[href]')?.click()
        break
      case '/': actions.search(); break
      case 'J': case 'K': {
        // The row one comes from is selected, and so is the one one comes to.
        const check = () => currentRow()?.querySelector<HTMLInputElement>('[data-row-check]')
        const from = check()
        if (from && !from.checked) from.click()
        moveRow(e.key === 'J' ? 1 : -1)
        const to = check()
        if (to && to !== from && !to.checked) to.click()
        break
      }
      case '.': {
        const menu = currentRow()?.querySelector<HTMLElement>('[aria-haspopup=menu]') ?? document.querySelector<HTMLElement>('main header [aria-haspopup=menu]')
        if (!menu) return
        menu.focus()
        // The menu opens by the keys of a menu button.
        menu.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }))
        break
      }
      case '[': case ']': {
        const b = button(e.key)
        if (!b) return
        b.click()
        break
      }
      case '?': actions.help(); break
      case 'r': case 'c': {
        const b = button(e.key)
        if (!b) return
        b.click()
        break
      }
      default: return
    }
    e.preventDefault()
  }
  document.addEventListener('keydown', onKey)
  return () => document.removeEventListener('keydown', onKey)
}
