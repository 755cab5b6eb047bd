import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router'
import { useQuery } from '@tanstack/react-query'
import { Bell, Bot, Boxes, FileText, Gauge, HardDrive, KeyRound, LayoutDashboard, ListTree, LogOut, Menu as MenuIcon, Network, Play, Rows3, Search, Settings, Workflow, X, type LucideIcon } from 'lucide-react'
import { lazy, Suspense, useEffect, useState } from 'react'
import { session } from '../api/fetch'
import { whoAmI } from '../api/system'
import { IconButton } from '../components/button'
import { Toasts } from '../components/toasts'
import { startLive, stopLive } from '../live/live'
import { listen } from './keys'
import { LiveMark } from './live-mark'
import mark from './mark.svg'
import { preferences } from './preferences'

const Palette = lazy(() => import('./palette'))
const Help = lazy(() => import('./help'))

const sections: { label: string; items: { to: string; label: string; Icon: LucideIcon }[] }[] = [
  {
    label: 'Work',
    items: [
      { to: '/', label: 'Dashboard', Icon: LayoutDashboard },
      { to: '/runs', label: 'Runs', Icon: Play },
      { to: '/flows', label: 'Flows', Icon: Workflow },
      { to: '/deployments', label: 'Deployments', Icon: Boxes },
      { to: '/artifacts', label: 'Artifacts', Icon: FileText },
    ],
  },
  {
    label: 'Execution',
    items: [
      { to: '/queues', label: 'Work queues', Icon: Rows3 },
      { to: '/agents', label: 'Agents', Icon: Bot },
      { to: '/limits', label: 'Concurrency limits', Icon: Gauge },
      { to: '/storage', label: 'Storage', Icon: HardDrive },
    ],
  },
  {
    label: 'System',
    items: [
      { to: '/cluster', label: 'Cluster', Icon: Network },
      { to: '/jobs', label: 'Jobs', Icon: ListTree },
      { to: '/webhooks', label: 'Notifications', Icon: Bell },
      { to: '/access', label: 'Tokens and audit', Icon: KeyRound },
      { to: '/settings', label: 'Settings', Icon: Settings },
    ],
  },
]

function Navigation() {
  return (
    <nav aria-label="Main" className="flex flex-col gap-4">
      {sections.map((s) => (
        <div key={s.label}>
          <p className="px-3 pb-1 text-[12px] font-semibold tracking-wide text-muted uppercase">{s.label}</p>
          <ul className="flex flex-col gap-0.5">
            {s.items.map(({ to, label, Icon }) => (
              <li key={to}>
                <Link to={to} activeOptions={{ exact: to === '/', includeSearch: false }} className="flex items-center gap-2.5 rounded-md px-3 py-1.5 text-muted hover:bg-sunken hover:text-text aria-[current=page]:bg-accent-soft aria-[current=page]:font-medium aria-[current=page]:text-accent">
                  <Icon size={16} aria-hidden />
                  {label}
                </Link>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </nav>
  )
}

function Brand() {
  return (
    <Link to="/" className="flex items-center gap-2.5 rounded-md font-semibold tracking-tight" aria-label="Sluice, to the dashboard">
      <img src={mark} alt="" width={26} height={26} />
      <span className="text-[16px]">Sluice</span>
    </Link>
  )
}

function Who() {
  const { data } = useQuery(whoAmI())
  const navigate = useNavigate()
  if (!data?.authentication) return null
  return (
    <div className="mt-auto flex items-center justify-between gap-2 border-t border-line px-3 pt-3 text-[13px]">
      <span className="min-w-0">
        <span className="block truncate font-medium">{data.name}</span>
        <span className="text-muted">{data.role}</span>
      </span>
      <IconButton
        label="Sign out"
        onClick={() => {
          session.signOut()
          void navigate({ to: '/sign-in' })
        }}
      >
        <LogOut size={15} aria-hidden />
      </IconButton>
    </div>
  )
}

/** Shell is what stays around every page. */
export function Shell() {
  const navigate = useNavigate()
  const [open, setOpen] = useState<'' | 'palette' | 'help' | 'menu'>('')
  const path = useRouterState({ select: (s) => s.location.pathname })
  useEffect(() => {
    startLive()
    return stopLive
  }, [])
  useEffect(
    () =>
      listen({
        go: (to) => void navigate({ to }),
        palette: () => setOpen((o) => (o === 'palette' ? '' : 'palette')),
        help: () => setOpen('help'),
        search: () => {
          const bar = document.querySelector<HTMLInputElement>('main [data-search]')
          if (bar) bar.focus()
          else setOpen('palette')
        },
        letters: () => preferences().keys,
      }),
    [navigate],
  )
  useEffect(() => setOpen((o) => (o === 'menu' ? '' : o)), [path])
  return (
    <div className="flex min-h-dvh">
      <a href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus() }} className="sr-only z-50 rounded bg-accent px-3 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-2 focus:left-2">
        Skip to the content
      </a>
      <aside className="sticky top-0 hidden h-dvh w-60 shrink-0 flex-col gap-5 overflow-y-auto border-r border-line bg-surface px-3 py-4 lg:flex">
        <div className="px-3"><Brand /></div>
        <Navigation />
        <Who />
      </aside>
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="sticky top-0 z-20 flex h-13 items-center gap-3 border-b border-line bg-surface px-4 sm:px-6">
          <IconButton label={open === 'menu' ? 'Close the menu' : 'Open the menu'} aria-expanded={open === 'menu'} className="lg:hidden" onClick={() => setOpen(open === 'menu' ? '' : 'menu')}>
            {open === 'menu' ? <X size={18} aria-hidden /> : <MenuIcon size={18} aria-hidden />}
          </IconButton>
          <span className="lg:hidden"><Brand /></span>
          <button type="button" onClick={() => setOpen('palette')} className="ml-auto flex h-8.5 items-center gap-2 rounded-md border border-line bg-bg px-2.5 text-muted hover:border-strong lg:mr-auto lg:ml-0 lg:w-80">
            <Search size={15} aria-hidden />
            <span className="sr-only lg:not-sr-only">Search or go to…</span>
            <kbd aria-hidden className="ml-auto hidden rounded border border-line bg-surface px-1.5 text-[12px] lg:inline">Ctrl K</kbd>
          </button>
          <LiveMark />
        </header>
        {open === 'menu' && (
          <div className="border-b border-line bg-surface px-3 py-4 lg:hidden">
            <Navigation />
            <Who />
          </div>
        )}
        <main id="main" tabIndex={-1} className="flex-1 outline-none">
          <Outlet />
        </main>
      </div>
      <Suspense fallback={null}>
        {open === 'palette' && <Palette onClose={() => setOpen('')} />}
        {open === 'help' && <Help onClose={() => setOpen('')} />}
      </Suspense>
      <Toasts />
    </div>
  )
}
