import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { Command } from 'cmdk'
import { Boxes, CornerDownLeft, Moon, Play, Rows3, Search, Sun, Workflow } from 'lucide-react'
import { useState, type ReactNode } from 'react'
import { deployments, flows, runDeployment } from '../api/deployments'
import { workQueues } from '../api/queues'
import { flowRuns } from '../api/runs'
import { Dialog } from '../components/dialog'
import { ToneIcon } from '../components/state-badge'
import { tell, tellFailure } from '../components/toasts'
import { lookOf } from '../core/states'
import { places } from './keys'
import { setPreference } from './preferences'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Palette finds pages, deployments, flows, queues and runs, and does things with them. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate()
  const [text, setText] = useState('')
  const all = useQuery(deployments())
  const allFlows = useQuery(flows())
  const queues = useQuery(workQueues())
  const wanted = text.trim()
  const runs = useQuery({
    ...flowRuns(uuid.test(wanted) ? { flow_runs: { id: { any_: [wanted] } } } : { flow_runs: { name: { any_: [wanted] } } }, { limit: 8 }),
    enabled: wanted.length > 2,
  })
  const flowName = (id: string) => allFlows.data?.find((f) => f.id === id)?.name ?? ''
  const done = (f: () => unknown) => () => {
    onClose()
    f()
  }
  const item = (value: string, icon: ReactNode, label: ReactNode, act: () => unknown, hint?: string) => (
    <Command.Item key={value} value={value} onSelect={done(act)} className="flex cursor-pointer items-center gap-2.5 rounded-md px-2.5 py-2 data-[selected=true]:bg-accent-soft">
      <span className="text-muted">{icon}</span>
      <span className="min-w-0 flex-1 truncate">{label}</span>
      {hint && <span className="text-[13px] text-muted">{hint}</span>}
    </Command.Item>
  )
  const group = 'px-1 pb-2 [&_[cmdk-group-heading]]:px-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-[12px] [&_[cmdk-group-heading]]:font-semibold [&_[cmdk-group-heading]]:text-muted'
  return (
    <Dialog title="Search and commands" onClose={onClose} wide>
      <Command label="Search and commands" loop className="-m-5">
        <div className="flex items-center gap-2 border-b border-line px-4">
          <Search size={16} aria-hidden className="text-muted" />
          <Command.Input data-autofocus value={text} onValueChange={setText} placeholder="A page, deployment, flow, queue, or the name or id of a run" className="h-11 flex-1 bg-transparent outline-none" />
        </div>
        <Command.List className="max-h-[min(420px,60vh)] overflow-y-auto p-2">
          <Command.Empty className="px-3 py-6 text-center text-muted">Nothing has that name. Runs are found by their whole name or id.</Command.Empty>
          {wanted.length > 2 && (runs.data?.length ?? 0) > 0 && (
            <Command.Group heading="Runs" className={group} forceMount>
              {runs.data!.map((r) => (
                <Command.Item key={r.id} forceMount value={`run ${r.id} ${r.name}`} onSelect={done(() => navigate({ to: '/runs/$id', params: { id: r.id } }))} className="flex cursor-pointer items-center gap-2.5 rounded-md px-2.5 py-2 data-[selected=true]:bg-accent-soft">
                  <ToneIcon tone={lookOf(r.stateType, r.stateName).tone} />
                  <span className="flex-1 truncate">{r.name}</span>
                  <span className="text-[13px] text-muted">{lookOf(r.stateType, r.stateName).label}</span>
                </Command.Item>
              ))}
            </Command.Group>
          )}
          <Command.Group heading="Go to" className={group}>
            {places.map((p) => item(`go ${p.label}`, <CornerDownLeft size={15} aria-hidden />, p.label, () => navigate({ to: p.to }), `g ${p.letter}`))}
          </Command.Group>
          {wanted !== '' && (
            <>
              <Command.Group heading="Deployments" className={group}>
                {(all.data ?? []).slice(0, 500).map((d) => {
                  const name = `${flowName(d.flowId)}/${d.name}`
                  return item(`deployment ${name}`, <Boxes size={15} aria-hidden />, name, () => navigate({ to: '/deployments/$id', params: { id: d.id } }))
                })}
              </Command.Group>
              <Command.Group heading="Run now" className={group}>
                {(all.data ?? []).slice(0, 500).map((d) => {
                  const name = `${flowName(d.flowId)}/${d.name}`
                  return item(`run ${name}`, <Play size={15} aria-hidden />, `Run ${name}`, () =>
                    runDeployment(d.id).then((r) => { tell(`Created ${r.name}.`); void navigate({ to: '/runs/$id', params: { id: r.id } }) }, tellFailure),
                  )
                })}
              </Command.Group>
              <Command.Group heading="Flows" className={group}>
                {(allFlows.data ?? []).slice(0, 500).map((f) => item(`flow ${f.name}`, <Workflow size={15} aria-hidden />, f.name, () => navigate({ to: '/flows/$id', params: { id: f.id } })))}
              </Command.Group>
              <Command.Group heading="Work queues" className={group}>
                {(queues.data ?? []).map((q) => item(`queue ${q.name}`, <Rows3 size={15} aria-hidden />, q.name, () => navigate({ to: '/queues/$id', params: { id: q.id } })))}
              </Command.Group>
            </>
          )}
          <Command.Group heading="Appearance" className={group}>
            {item('theme dark', <Moon size={15} aria-hidden />, 'Dark theme', () => setPreference('theme', 'dark'))}
            {item('theme light', <Sun size={15} aria-hidden />, 'Light theme', () => setPreference('theme', 'light'))}
            {item('theme system', <Sun size={15} aria-hidden />, "The system's theme", () => setPreference('theme', 'system'))}
          </Command.Group>
        </Command.List>
      </Command>
    </Dialog>
  )
}
