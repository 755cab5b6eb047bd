import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect, useMemo, useRef, useState } from 'react'
import { runGraph } from '../api/runs'
import { inView, layout, type Layout } from '../core/graph'
import { lookOf, shortTask } from '../core/states'
import { duration } from '../core/time'
import { Button } from './button'
import { Empty, Loaded, Skeleton } from './feedback'
import { ToneIcon } from './state-badge'
import { useTaskNames } from './task-names'

/** Above this many it is drawn only when asked for. */
const many = 300

/** Graph draws which task run's result went into which other, from left to right. */
export default function Graph({ runId }: { runId: string }) {
  const query = useQuery(runGraph(runId))
  const [asked, setAsked] = useState(false)
  const [zoom, setZoom] = useState(1)
  const nodes = useMemo(() => query.data ?? [], [query.data])
  const byId = useMemo(() => new Map(nodes.map((n) => [n.id, n])), [nodes])
  const draw = nodes.length <= many || asked
  const g = useLayout(nodes, draw)
  const box = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ left: 0, top: 0, width: 1600, height: 600 })
  const look = () => {
    const e = box.current
    if (e) setView({ left: e.scrollLeft, top: e.scrollTop, width: e.clientWidth, height: e.clientHeight })
  }
  useEffect(look, [g, zoom])
  const seen = useMemo(() => (g ? inView(g, { left: view.left / zoom, top: view.top / zoom, width: view.width / zoom, height: view.height / zoom }, 200) : null), [g, view, zoom])
  const name = useTaskNames(seen?.nodes.map((n) => n.id) ?? [])
  return (
    <Loaded query={query}>
      {() => nodes.length === 0 ? <Empty title="This run has no task runs">A graph shows which task's result went into which other.</Empty> : !draw ? (
        <Empty title={`${nodes.length.toLocaleString('en')} task runs`} action={<Button onClick={() => setAsked(true)}>Draw them all the same</Button>}>A graph of that many helps few. The timeline and the list show them at once.</Empty>
      ) : !g || !seen ? <Skeleton rows={8} /> : (
        <div className="relative">
          <div ref={box} role="region" aria-label="Task graph" tabIndex={0} onScroll={look} className="max-h-[600px] overflow-auto p-4">
            <div className="relative origin-top-left" style={{ width: g.width * zoom, height: g.height * zoom }}>
              <div className="absolute top-0 left-0 origin-top-left" style={{ transform: `scale(${zoom})`, width: g.width, height: g.height }}>
                <svg width={g.width} height={g.height} aria-hidden className="absolute inset-0">
                  {seen.edges.map((e) => <path key={e.from + e.to} d={e.path} fill="none" stroke="var(--line-strong)" strokeWidth={1.4} />)}
                </svg>
                {seen.nodes.map((n) => {
                  const node = byId.get(n.id)
                  if (!node) return null
                  const state = node.state as { type?: string; name?: string } | null
                  const look = lookOf(state?.type, state?.name)
                  return (
                    <Link key={n.id} to="/runs/$id/tasks/$taskId" params={{ id: runId, taskId: n.id }} title={name(n.id)} className={`tone-${look.tone} absolute flex items-center gap-2 rounded-md border border-line bg-surface px-2.5 hover:border-accent`} style={{ left: n.x, top: n.y, width: n.width, height: n.height }}>
                      <ToneIcon tone={look.tone} />
                      <span className="min-w-0 flex-1 truncate">{shortTask(name(n.id) ?? n.id.slice(0, 8))}</span>
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

type Nodes = { id: string; upstreamDependencies: { id?: string | null }[] }[]

/** useLayout places the nodes, in a worker where there are many: the page stays usable meanwhile. */
function useLayout(nodes: Nodes, draw: boolean): Layout | null {
  const input = useMemo(() => nodes.map((n) => ({ id: n.id, upstream: n.upstreamDependencies.flatMap((u) => u.id ?? []) })), [nodes])
  const here = useMemo(() => (draw && input.length <= many ? layout(input) : null), [input, draw])
  const [there, setThere] = useState<Layout | null>(null)
  useEffect(() => {
    if (!draw || input.length <= many) return
    const worker = new Worker(new URL('../core/graph.worker.ts', import.meta.url), { type: 'module' })
    worker.onmessage = (e: MessageEvent<Layout>) => setThere(e.data)
    worker.postMessage(input)
    return () => worker.terminate()
  }, [input, draw])
  return here ?? (draw ? there : null)
}
