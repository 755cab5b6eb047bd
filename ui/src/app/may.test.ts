import { describe, expect, it } from 'vitest'
import { reaches } from './may'

describe('what a role may do', () => {
  it('is what those before it may, and more', () => {
    expect(reaches('viewer', 'viewer')).toBe(true)
    expect(reaches('viewer', 'operator')).toBe(false)
    expect(reaches('agent', 'operator')).toBe(false)
    expect(reaches('operator', 'operator')).toBe(true)
    expect(reaches('operator', 'deployer')).toBe(false)
    expect(reaches('admin', 'deployer')).toBe(true)
  })
  it('is for the server to say when the role is not known', () => {
    expect(reaches(undefined, 'admin')).toBe(true)
    expect(reaches('wizard', 'admin')).toBe(true)
  })
})
