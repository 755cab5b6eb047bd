import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { LogIn, LogOut, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { agents, drainAgent, forgetAgent, workQueues, type Agent } from '../api/queues'
import { Button, buttonClass } from '../components/button'
import { CommandLine } from '../components/copy'
import { Empty, Loaded } from '../components/feedback'
import { Input } from '../components/field'
import { Menu } from '../components/menu'
import { QueueLink } from '../components/names'
import { Card, Page } from '../components/page'
import { ToneIcon } from '../components/state-badge'
import { Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import { agentStart } from '../core/commands'
import type { Tone } from '../core/states'

function health(a: Agent): [Tone, string] {
  if (!a.live) return ['failed', 'Gone']
  if (a.draining) return a.flowRuns.length > 0 ? ['late', 'Draining'] : ['cancelled', 'Drained']
  return ['completed', 'Live']
}

export function Agents() {
  const { q = '' } = useSearch({ from: '/shell/agents' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const query = useQuery(agents())
  const queues = useQuery(workQueues())
  const [selected, setSelected] = useState(new Set<string>())
  const changed = () => void cache.invalidateQueries({ queryKey: ['agents'] })
  const drain = async (all: Agent[], on: boolean) => {
    const done = await Promise.allSettled(all.map((a) => drainAgent(a.id, on)))
    const failed = done.find((d) => d.status === 'rejected')
    if (failed) tellFailure(failed.reason)
    else tell(on ? `${all.length === 1 ? all[0]!.name : `${all.length} agents`}: what goes on is finished, nothing new is taken.` : `${all.length === 1 ? all[0]!.name : `${all.length} agents`}: back at work.`)
    setSelected(new Set())
    changed()
  }
  const columns: Column<Agent>[] = [
    { header: 'Agent', cell: (a) => <div className="min-w-28"><span className="font-medium">{a.name}</span><div className="text-[13px] text-muted">{a.hostname}</div></div> },
    {
      header: 'Health',
      cell: (a) => {
        const [tone, word] = health(a)
        return <span className={`tone-${tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)`}><ToneIcon tone={tone} size={13} /> {word}</span>
      },
    },
    { header: 'Work queues', from: 'md', cell: (a) => <span className="flex flex-wrap gap-x-2">{a.workQueueIds.map((id) => <QueueLink key={id} id={id} />)}</span> },
    {
      header: 'Executes', from: 'sm',
      cell: (a) => a.flowRuns.length === 0 ? <span className="text-muted">nothing</span> : (
        <span className="flex flex-wrap gap-x-2">{a.flowRuns.slice(0, 4).map((id) => <Link key={id} to="/runs/$id" params={{ id }} className="text-accent hover:underline">{id.slice(0, 8)}</Link>)}{a.flowRuns.length > 4 && <span className="text-muted">and {a.flowRuns.length - 4} more</span>}</span>
      ),
    },
    { header: 'Version', from: 'lg', cell: (a) => <span className="text-muted">{a.version || '–'}</span> },
    { header: 'Last seen', right: true, cell: (a) => <Ago at={a.lastSeen} /> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (a) => (
        <Menu label={`More for ${a.name}`} items={[
          a.live && !a.draining && { label: 'Drain', needs: 'operator' as const, icon: <LogOut size={15} aria-hidden />, onSelect: () => void drain([a], true) },
          a.draining && { label: 'Call back', needs: 'operator' as const, icon: <LogIn size={15} aria-hidden />, onSelect: () => void drain([a], false) },
          !a.live && { label: 'Forget', needs: 'operator' as const, danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => void forgetAgent(a.id).then(() => { tell(`Forgot ${a.name}.`); changed() }, tellFailure) },
        ]} />
      ),
    },
  ]
  const start = agentStart(queues.data?.[0]?.name ?? 'tutorial_queue')
  return (
    <Page title="Agents" wide>
      <div className="flex flex-col gap-4">
        <Card flush aside={<Input data-search type="search" aria-label="Find agents" placeholder="Find by name or host" value={q} onChange={(e) => void navigate({ to: '/agents', search: { q: e.target.value || undefined }, replace: true })} className="max-w-80" />}>
          <Loaded query={query}>
            {(all) => {
              const shown = all.filter((a) => `${a.name} ${a.hostname}`.toLowerCase().includes(q.toLowerCase())).sort((a, b) => Number(b.live) - Number(a.live) || a.name.localeCompare(b.name))
              const chosen = shown.filter((a) => selected.has(a.id) && a.live)
              if (all.length === 0) return <Empty title="No agents" command={start}>An agent takes runs from work queues and executes them, on this machine or any other that reaches this server.</Empty>
              if (shown.length === 0) return <Empty title={`Nothing matches “${q}”`} action={<Link to="/agents" className={buttonClass()}>Show all</Link>} />
              return (
                <>
                  {chosen.length > 0 && (
                    <div role="region" aria-label="Selected agents" className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-soft px-4 py-2">
                      <span className="mr-auto font-medium tabular">{chosen.length} selected</span>
                      <Button small onClick={() => void drain(chosen, true)}><LogOut size={14} aria-hidden /> Drain</Button>
                      <Button small onClick={() => void drain(chosen, false)}><LogIn size={14} aria-hidden /> Call back</Button>
                    </div>
                  )}
                  <Table label="Agents" columns={columns} rows={shown} id={(a) => a.id} selected={selected}
                    onSelect={(id) => setSelected((s) => { const n = new Set(s); if (!n.delete(id)) n.add(id); return n })} onSelectAll={(on) => setSelected(on ? new Set(shown.map((a) => a.id)) : new Set())} />
                </>
              )
            }}
          </Loaded>
        </Card>
        {(query.data?.length ?? 0) > 0 && <div className="flex flex-col gap-1.5"><p className="text-muted">Start another one, on any machine that reaches this server:</p><CommandLine command={start} /></div>}
      </div>
    </Page>
  )
}
