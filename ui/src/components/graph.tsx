import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import { allTaskRuns, runGraph } from '../api/runs'
import { layout } from '../core/graph'
import { lookOf, shortTask } from '../core/states'
import { duration } from '../core/time'
import { Button } from './button'
import { Empty, Loaded } from './feedback'
import { ToneIcon } from './state-badge'

/** Above this many it is drawn only when asked for. */
const many = 300

/** Graph draws which task run's result went into which other, from left to right. */
export default function Graph({ runId }: { runId: string }) {
  const query = useQuery(runGraph(runId))
  const tasks = useQuery(allTaskRuns(runId))
  const [asked, setAsked] = useState(false)
  const [zoom, setZoom] = useState(1)
  const names = useMemo(() => new Map((tasks.data ?? []).map((t) => [t.id, t.name])), [tasks.data])
  const nodes = query.data ?? []
  const draw = nodes.length <= many || asked
  const g = useMemo(() => (draw ? layout(nodes.map((n) => ({ id: n.id, upstream: n.upstreamDependencies.map((u) => u.id) }))) : null), [nodes, draw])
  return (
    <Loaded query={query}>
      {() => nodes.length === 0 ? <Empty title="This run has no task runs">A graph shows which task's result went into which other.</Empty> : !g ? (
        <Empty title={`${nodes.length.toLocaleString('en')} task runs`} action={<Button onClick={() => setAsked(true)}>Draw them all the same</Button>}>A graph of that many helps few. The timeline and the list show them at once.</Empty>
      ) : (
        <div className="relative">
          <div role="region" aria-label="Task graph" tabIndex={0} className="max-h-[600px] overflow-auto p-4">
            <div className="relative origin-top-left" style={{ width: g.width * zoom, height: g.height * zoom }}>
              <div className="absolute top-0 left-0 origin-top-left" style={{ transform: `scale(${zoom})`, width: g.width, height: g.height }}>
                <svg width={g.width} height={g.height} aria-hidden className="absolute inset-0">
                  {g.edges.map((e) => <path key={e.from + e.to} d={e.path} fill="none" stroke="var(--line-strong)" strokeWidth={1.4} />)}
                </svg>
                {g.nodes.map((n) => {
                  const node = nodes.find((x) => x.id === n.id)!
                  const state = node.state as { type?: string; name?: string } | null
                  const look = lookOf(state?.type, state?.name)
                  return (
                    <Link key={n.id} to="/runs/$id/tasks/$taskId" params={{ id: runId, taskId: n.id }} title={names.get(n.id)} className={`tone-${look.tone} absolute flex items-center gap-2 rounded-md border border-line bg-surface px-2.5 hover:border-accent`} style={{ left: n.x, top: n.y, width: n.width, height: n.height }}>
                      <ToneIcon tone={look.tone} />
                      <span className="min-w-0 flex-1 truncate">{shortTask(names.get(n.id) ?? n.id.slice(0, 8))}</span>
                      <span className="text-[12px] text-muted tabular">{duration(node.totalRunTime)}</span>
                    </Link>
                  )
                })}
              </div>
            </div>
          </div>
          <span className="absolute top-3 right-3 flex gap-1">
            <Button small aria-label="Smaller" onClick={() => setZoom(Math.max(0.3, zoom - 0.15))}>−</Button>
            <Button small aria-label="Larger" onClick={() => setZoom(Math.min(1.6, zoom + 0.15))}>+</Button>
          </span>
        </div>
      )}
    </Loaded>
  )
}
