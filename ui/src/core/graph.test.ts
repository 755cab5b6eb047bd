import { describe, expect, it } from 'vitest'
import { inView, layout } from './graph'

describe('the task graph', () => {
  it('puts each node behind all it depends on', () => {
    const g = layout([{ id: 'c', upstream: ['a', 'b'] }, { id: 'b', upstream: ['a'] }, { id: 'a', upstream: [] }, { id: 'd', upstream: ['a'] }])
    const x = Object.fromEntries(g.nodes.map((n) => [n.id, n.x]))
    expect(x.a).toBe(0)
    expect(x.b).toBeGreaterThan(x.a!)
    expect(x.c).toBeGreaterThan(x.b!)
    expect(x.d).toBe(x.b)
    expect(g.edges).toHaveLength(4)
  })
  it('lets no two nodes overlap', () => {
    const g = layout(Array.from({ length: 60 }, (_, i) => ({ id: `n${i}`, upstream: i === 0 ? [] : [`n${Math.floor((i - 1) / 3)}`] })))
    expect(new Set(g.nodes.map((n) => `${n.x}/${n.y}`)).size).toBe(60)
  })
  it('leaves out what it does not know, and survives a circle', () => {
    expect(layout([{ id: 'a', upstream: ['gone', 'a'] }]).edges).toEqual([])
    expect(layout([{ id: 'a', upstream: ['b'] }, { id: 'b', upstream: ['a'] }]).nodes).toHaveLength(2)
    expect(layout([])).toEqual({ width: 0, height: 0, nodes: [], edges: [] })
  })
  it('draws what is in view, and the edges that pass through', () => {
    const g = layout(Array.from({ length: 1000 }, (_, i) => ({ id: `n${i}`, upstream: i === 0 ? [] : ['n0', `n${i - 1}`] })))
    const middle = g.nodes.find((n) => n.id === 'n500')!
    const seen = inView(g, { left: middle.x, top: middle.y, width: 300, height: 100 }, 10)
    expect(seen.nodes.length).toBeLessThan(5)
    expect(seen.nodes).toContain(middle)
    expect(seen.edges.some((e) => e.from === 'n499' && e.to === 'n500')).toBe(true)
    expect(seen.edges.some((e) => e.from === 'n0' && e.to === 'n900')).toBe(true)
    expect(seen.edges.some((e) => e.to === 'n300')).toBe(false)
    expect(inView(g, { left: 0, top: 0, width: g.width, height: g.height }, 0)).toEqual({ nodes: g.nodes, edges: g.edges })
  })
  it('takes a chain of ten thousand', () => {
    expect(layout(Array.from({ length: 10_000 }, (_, i) => ({ id: `n${i}`, upstream: i === 0 ? [] : [`n${i - 1}`] })).reverse()).nodes).toHaveLength(10_000)
  })
})
