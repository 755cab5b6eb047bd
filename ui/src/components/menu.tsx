import { Ellipsis } from 'lucide-react'
import { DropdownMenu } from 'radix-ui'
import type { ReactNode } from 'react'
import { useMay, type Role } from '../app/may'

export interface MenuItem {
  label: string
  icon?: ReactNode
  onSelect: () => void
  danger?: boolean
  disabled?: boolean
  /** the role that it needs: it is not offered to who lacks it */
  needs?: Role
}

/** Menu is what else can be done with something. Not modal: locking the page's scroll would need styles the content policy refuses. */
export function Menu({ label, items, trigger }: { label: string; items: (MenuItem | null | false)[]; trigger?: ReactNode }) {
  const may = useMay()
  const offered = items.filter((i): i is MenuItem => !!i && (!i.needs || may(i.needs)))
  if (offered.length === 0) return null
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild={!!trigger} aria-label={trigger ? undefined : label} title={trigger ? undefined : label} className={trigger ? undefined : 'inline-flex size-8 items-center justify-center rounded-md text-muted hover:bg-sunken hover:text-text'}>
        {trigger ?? <Ellipsis size={16} aria-hidden />}
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content align="end" sideOffset={4} className="z-40 min-w-44 rounded-lg border border-line bg-surface p-1 shadow-xl">
          {offered.map((i) => (
            <DropdownMenu.Item key={i.label} disabled={i.disabled} onSelect={i.onSelect} className={`flex cursor-pointer items-center gap-2 rounded px-2.5 py-1.5 outline-none select-none data-disabled:cursor-not-allowed data-disabled:opacity-50 data-highlighted:bg-sunken ${i.danger ? 'text-danger' : ''}`}>
              {i.icon}
              {i.label}
            </DropdownMenu.Item>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  )
}
