import { describe, expect, it } from 'vitest'
import { layout } from './graph'

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
  it('takes a chain of ten thousand', () => {
    expect(layout(Array.from({ length: 10_000 }, (_, i) => ({ id: `n${i}`, upstream: i === 0 ? [] : [`n${i - 1}`] })).reverse()).nodes).toHaveLength(10_000)
  })
})
