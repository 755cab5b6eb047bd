import { Link, type LinkProps } from '@tanstack/react-router'

interface Tab {
  label: string
  to: LinkProps
  active: boolean
  count?: number
}

/** TabLinks are addresses: back goes back, and a link leads to the tab. */
export function TabLinks({ label, tabs }: { label: string; tabs: Tab[] }) {
  return (
    <nav aria-label={label} className="-my-2.5 flex max-w-full gap-1 overflow-x-auto">
      {tabs.map((t) => (
        <Link key={t.label} {...t.to} replace resetScroll={false} aria-current={t.active ? 'true' : undefined} className={`border-b-2 px-2.5 py-2.5 text-[14px] whitespace-nowrap ${t.active ? 'border-accent font-semibold text-text' : 'border-transparent text-muted hover:text-text'}`}>
          {t.label}
          {t.count !== undefined && <span className="ml-1.5 rounded-full bg-sunken px-1.5 text-[12px] font-normal text-muted tabular">{t.count.toLocaleString('en')}</span>}
        </Link>
      ))}
    </nav>
  )
}
