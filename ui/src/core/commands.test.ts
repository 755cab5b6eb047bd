import { describe, expect, it } from 'vitest'
import { agentStart, curlCommand, quote, runCommand } from './commands'

describe('commands', () => {
  it('quotes what a shell would read otherwise', () => {
    expect([quote('tutorial_queue'), quote('night work'), quote("it's"), quote(''), quote('$HOME'), quote('a;b')]).toEqual(['tutorial_queue', "'night work'", "'it'\\''s'", "''", "'$HOME'", "'a;b'"])
    expect(agentStart('tutorial_queue')).toBe('sluice agent start tutorial_queue')
  })
  it('are the same run', () => {
    expect(runCommand('hello/sample', 'id', { parameters: {}, tags: [] })).toBe('sluice deployment run hello/sample')
    expect(runCommand('hello/my dep', 'id', { name: 'x', parameters: { name: "O'Hara" }, tags: [] })).toBe(`sluice deployment run 'hello/my dep' --name x --params '{"name":"O'\\''Hara"}'`)
    expect(runCommand('a/b', 'id', { parameters: {}, tags: ['t'], at: '2026-01-01T00:00:00Z' })).toBe(
      `sluice api POST /deployments/id/create_flow_run --data '{"parameters":{},"tags":["t"],"state":{"type":"SCHEDULED","state_details":{"scheduled_time":"2026-01-01T00:00:00Z"}}}'`,
    )
    expect(curlCommand('http://h/api', 'id', { parameters: { a: 1 }, tags: [] }, true)).toBe(
      `curl -X POST http://h/api/deployments/id/create_flow_run -H 'Content-Type: application/json' -H "Authorization: Bearer $SLUICE_API_KEY" -d '{"parameters":{"a":1},"state":{"type":"SCHEDULED"}}'`,
    )
  })
})

it('commands keep big integers', () => {
  const run = { parameters: { id: 12345678901234567890n }, tags: [] }
  expect(runCommand('a/b', 'id', run)).toContain('"id":12345678901234567890')
  expect(curlCommand('http://h/api', 'id', run, false)).toContain('"id":12345678901234567890')
})
