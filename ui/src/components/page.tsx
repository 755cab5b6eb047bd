import { Link, type LinkProps } from '@tanstack/react-router'
import { ChevronRight } from 'lucide-react'
import { useEffect, type ReactNode } from 'react'

interface Crumb {
  label: string
  link: LinkProps
}

/** Page is what every page begins with: where one is, its name, what can be done here. */
export function Page({ title, titleMark, crumbs = [], actions, children, wide }: { title: string; titleMark?: ReactNode; crumbs?: Crumb[]; actions?: ReactNode; children: ReactNode; wide?: boolean }) {
  useEffect(() => {
    document.title = `${title} · Sluice`
  }, [title])
  return (
    <div className={`mx-auto w-full px-4 py-5 sm:px-6 ${wide ? 'max-w-[1800px]' : 'max-w-[1280px]'}`}>
      <header className="mb-5 flex flex-wrap items-start justify-between gap-x-4 gap-y-3">
        <div className="min-w-0">
          {crumbs.length > 0 && (
            <nav aria-label="Breadcrumb" className="mb-1 flex flex-wrap items-center gap-1 text-[13px] text-muted">
              {crumbs.map((c) => (
                <span key={c.label} className="flex items-center gap-1">
                  <Link {...c.link} className="hover:text-text hover:underline">{c.label}</Link>
                  <ChevronRight size={13} aria-hidden />
                </span>
              ))}
            </nav>
          )}
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
            <h1 className="text-[22px] leading-8 font-semibold tracking-tight break-words">{title}</h1>
            {titleMark}
          </div>
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </header>
      {children}
    </div>
  )
}

export function Card({ title, aside, children, flush, className = '' }: { title?: ReactNode; aside?: ReactNode; children: ReactNode; flush?: boolean; className?: string }) {
  return (
    <section className={`min-w-0 rounded-lg border border-line bg-surface ${className}`}>
      {(title || aside) && (
        <div className="flex flex-wrap items-center justify-between gap-2 border-b border-line px-4 py-2.5">
          {title && <h2 className="max-w-full min-w-0 text-[15px] font-semibold">{title}</h2>}
          {aside}
        </div>
      )}
      <div className={flush ? '' : 'p-4'}>{children}</div>
    </section>
  )
}

/** Facts are names and values, in as many columns as fit. */
export function Facts({ items }: { items: ([string, ReactNode] | null | false | undefined | '')[] }) {
  return (
    <dl className="grid grid-cols-2 gap-x-6 sm:grid-cols-[repeat(auto-fill,minmax(190px,1fr))] gap-y-3.5">
      {items.filter((i): i is [string, ReactNode] => !!i).map(([name, value]) => (
        <div key={name} className="min-w-0">
          <dt className="text-[13px] text-muted">{name}</dt>
          <dd className="break-words">{value ?? '–'}</dd>
        </div>
      ))}
    </dl>
  )
}

export function Tag({ children }: { children: string }) {
  return (
    <Link to="/runs" search={{ q: `tag:${/[\s|"]/.test(children) ? JSON.stringify(children) : children}` }} className="inline-block max-w-52 truncate rounded border border-line bg-sunken px-1.5 text-[13px] leading-5 text-muted hover:border-strong hover:text-text">
      {children}
    </Link>
  )
}

export function Tags({ tags }: { tags: string[] }) {
  if (tags.length === 0) return null
  return <span className="inline-flex flex-wrap gap-1">{tags.map((t) => <Tag key={t}>{t}</Tag>)}</span>
}
