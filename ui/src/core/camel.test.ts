import { describe, expect, it } from 'vitest'
import { camel } from './camel'

describe('camel', () => {
  it('renames what is ours, at every depth', () => {
    expect(camel({ state_type: 'RUNNING', state: { state_details: { flow_run_id: 'x' } }, all: [{ is_paused: true }] })).toEqual({
      stateType: 'RUNNING', state: { stateDetails: { flowRunId: 'x' } }, all: [{ isPaused: true }],
    })
  })
  it("leaves the names of users' values alone", () => {
    expect(camel({ parameters: { first_name: 'Leo', deep: { a_b: 1 } }, task_inputs: { my_arg: [] } })).toEqual({
      parameters: { first_name: 'Leo', deep: { a_b: 1 } }, taskInputs: { my_arg: [] },
    })
  })
  it('keeps nulls, numbers and big integers', () => {
    expect(camel([null, 1, 2n, 'a_b'])).toEqual([null, 1, 2n, 'a_b'])
  })
})
