import { describe, expect, it } from 'vitest'
import { concerns } from './topics'

const event = (name: string, data: object) => ({ name, data: JSON.stringify(data) })

describe('concerns', () => {
  it('tells topics apart', () => {
    expect(concerns({ topics: ['flow_run'] }, event('flow_run', { id: 'a' }))).toBe(true)
    expect(concerns({ topics: ['flow_run'] }, event('agent', { id: 'a' }))).toBe(false)
  })
  it("tells one run's events from another's", () => {
    const interest = { topics: ['flow_run' as const, 'task_run' as const], flowRunId: 'a' }
    expect(concerns(interest, event('flow_run', { id: 'a' }))).toBe(true)
    expect(concerns(interest, event('flow_run', { id: 'b' }))).toBe(false)
    expect(concerns(interest, event('task_run', { id: 'x', flow_run_id: 'a' }))).toBe(true)
    expect(concerns(interest, event('task_run', { id: 'a', flow_run_id: 'b' }))).toBe(false)
  })
  it("tells one deployment's events from another's", () => {
    const interest = { topics: ['flow_run' as const, 'deployment' as const], deploymentId: 'd' }
    expect(concerns(interest, event('flow_run', { id: 'a', deployment_id: 'd' }))).toBe(true)
    expect(concerns(interest, event('flow_run', { id: 'a', deployment_id: null }))).toBe(false)
    expect(concerns(interest, event('deployment', { id: 'd' }))).toBe(true)
  })
})
