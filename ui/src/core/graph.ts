// Places the nodes of a task graph in layers from left to right: each stands behind all it depends on, and beside what it is joined with.

export interface GraphInput {
  id: string
  upstream: string[]
}

export interface PlacedNode {
  id: string
  x: number
  y: number
  width: number
  height: number
}

export interface Layout {
  width: number
  height: number
  nodes: PlacedNode[]
  edges: { from: string; to: string; path: string; x1: number; y1: number; x2: number; y2: number }[]
}

const width = 200
const height = 36
const gapX = 64
const gapY = 12

/** layout works in time linear in nodes and edges, but for a few sweeps that bring joined nodes near each other. */
export function layout(input: GraphInput[]): Layout {
  const known = new Map(input.map((n) => [n.id, n]))
  const upstream = (id: string) => known.get(id)!.upstream.filter((u) => known.has(u) && u !== id)
  const layer = new Map<string, number>()
  const entered = new Set<string>()
  // Depth first with a stack of its own: chains may be long.
  for (const root of input) {
    const stack = [root.id]
    while (stack.length > 0) {
      const id = stack.at(-1)!
      if (layer.has(id)) {
        stack.pop()
        continue
      }
      const open = upstream(id).filter((u) => !layer.has(u) && !entered.has(u))
      if (!entered.has(id) && open.length > 0) {
        entered.add(id)
        stack.push(...open)
        continue
      }
      layer.set(id, Math.max(0, ...upstream(id).map((u) => (layer.get(u) ?? -1) + 1)))
      stack.pop()
    }
  }
  const layers: string[][] = []
  for (const n of input) (layers[layer.get(n.id)!] ??= []).push(n.id)
  const downstream = new Map<string, string[]>()
  for (const n of input) for (const u of upstream(n.id)) {
    const down = downstream.get(u)
    if (down) down.push(n.id)
    else downstream.set(u, [n.id])
  }
  const row = new Map<string, number>()
  const number = (ids: string[]) => ids.forEach((id, i) => row.set(id, i - ids.length / 2))
  layers.forEach(number)
  const sort = (ids: string[], near: (id: string) => string[]) => {
    const weight = new Map(ids.map((id) => {
      const rows = near(id).map((x) => row.get(x)!)
      return [id, rows.length > 0 ? rows.reduce((a, b) => a + b, 0) / rows.length : row.get(id)!]
    }))
    ids.sort((a, b) => weight.get(a)! - weight.get(b)!)
    number(ids)
  }
  for (let sweep = 0; sweep < 4; sweep++) {
    for (const ids of layers) sort(ids, upstream)
    for (const ids of [...layers].reverse()) sort(ids, (id) => downstream.get(id) ?? [])
  }
  const tallest = Math.max(0, ...layers.map((l) => l.length))
  const full = tallest * (height + gapY) - gapY
  const nodes = layers.flatMap((ids, l) => {
    const top = (full - (ids.length * (height + gapY) - gapY)) / 2
    return ids.map((id, i) => ({ id, x: l * (width + gapX), y: top + i * (height + gapY), width, height }))
  })
  const at = new Map(nodes.map((n) => [n.id, n]))
  const edges = input.flatMap((n) =>
    upstream(n.id).map((u) => {
      const [a, b] = [at.get(u)!, at.get(n.id)!]
      const [x1, y1, x2, y2] = [a.x + width, a.y + height / 2, b.x, b.y + height / 2]
      const bend = Math.max(24, (x2 - x1) / 2)
      return { from: u, to: n.id, x1, y1, x2, y2, path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` }
    }),
  )
  return { width: Math.max(0, layers.length * (width + gapX) - gapX), height: Math.max(0, full), nodes, edges }
}

/** inView are the nodes and edges that touch a rectangle, or are nearer to it than the margin. */
export function inView(g: Layout, view: { left: number; top: number; width: number; height: number }, margin: number): Pick<Layout, 'nodes' | 'edges'> {
  const [left, top, right, bottom] = [view.left - margin, view.top - margin, view.left + view.width + margin, view.top + view.height + margin]
  return {
    nodes: g.nodes.filter((n) => n.x < right && n.x + n.width > left && n.y < bottom && n.y + n.height > top),
    edges: g.edges.filter((e) => Math.min(e.x1, e.x2) < right && Math.max(e.x1, e.x2) > left && Math.min(e.y1, e.y2) < bottom && Math.max(e.y1, e.y2) > top),
  }
}
