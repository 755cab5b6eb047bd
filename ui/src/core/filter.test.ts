import { describe, expect, it } from 'vitest'
import { criteria, print, scan, span, toggle, type Names } from './filter'

const names: Names = { queues: { default: 'q-1', 'night work': 'q-2' }, now: Date.parse('2026-03-01T12:00:00Z') }
const ask = (text: string) => criteria(text, names)

describe('the filter language', () => {
  it('reads nothing as no criterion', () => {
    expect(ask('  ')).toEqual({ filter: {}, problems: [] })
  })
  it('joins terms by and, values by or', () => {
    expect(ask('state:failed tag:prod tag:"two words" flow:etl|load')).toEqual({
      filter: { flow_runs: { state: { type: { any_: ['FAILED'] } }, tags: { all_: ['prod', 'two words'] } }, flows: { name: { any_: ['etl', 'load'] } } },
      problems: [],
    })
  })
  it.each([
    ['state:late', { type: { any_: ['SCHEDULED'] }, name: { any_: ['Late'] } }],
    ['s:crashed|timed_out', { type: { any_: ['FAILED'] }, name: { any_: ['Crashed', 'TimedOut'] } }],
    ['state:failed|crashed', { type: { any_: ['FAILED'] } }],
    ['state:completed|crashed', { type: { any_: ['COMPLETED', 'FAILED'] }, name: { any_: ['Completed', 'Cached', 'Crashed'] } }],
    ['state:RUNNING|Pending', { type: { any_: ['RUNNING', 'PENDING'] } }],
  ])('%s', (text, want) => {
    expect(ask(text).filter.flow_runs?.state).toEqual(want)
  })
  it('knows the prefixes of before', () => {
    expect(ask('d:leo f:leonardo fr:tan-lion t:a v:2')).toEqual({
      filter: { deployments: { name: { any_: ['leo'] } }, flows: { name: { any_: ['leonardo'] } }, flow_runs: { name: { any_: ['tan-lion'] }, tags: { all_: ['a'] }, flow_version: { any_: ['2'] } } },
      problems: [],
    })
  })
  it('takes a bare word for a name, and a deployment with its flow', () => {
    expect(ask('tan-lion').filter).toEqual({ flow_runs: { name: { any_: ['tan-lion'] } } })
    expect(ask('deployment:hello/sample').filter).toEqual({ deployments: { name: { any_: ['sample'] } }, flows: { name: { any_: ['hello'] } } })
  })
  it('knows parameters by name', () => {
    expect(ask('param.name=Leo|"two words" param.limit:100').filter).toEqual({ flow_runs: { parameters: { any_: { name: ['Leo', 'two words'], limit: ['100'] } } } })
    expect(print(scan('param.name:Leo|"a b" param.x=1').tokens)).toBe('param.name=Leo|"a b" param.x=1')
    expect(ask('param:Leo').problems).toHaveLength(1)
    expect(ask('param.name=').problems).toHaveLength(1)
  })
  it('narrows times', () => {
    expect(ask('newer:6h').filter.flow_runs?.expected_start_time).toEqual({ after_: '2026-03-01T06:00:00.000Z' })
    expect(ask('newer:6h after:2026-03-01T08:00Z older:1h').filter.flow_runs?.expected_start_time).toEqual({ after_: '2026-03-01T08:00:00.000Z', before_: '2026-03-01T11:00:00.000Z' })
    expect(ask('upcoming:1d').filter.flow_runs).toEqual({ state: { type: { any_: ['SCHEDULED'] } }, expected_start_time: { after_: '2026-03-01T12:00:00.000Z', before_: '2026-03-02T12:00:00.000Z' } })
  })
  it('finds queues by name', () => {
    expect(ask('queue:"night work"').filter.flow_runs?.work_queue_id).toEqual({ any_: ['q-2'] })
  })
  it.each([
    ['weather:bad', 0, 11], ['tag:a state:great', 6, 17], ['newer:soon', 0, 10], ['after:never', 0, 11], ['queue:nobody', 0, 12], ['state:', 0, 6],
  ])('says where %s is wrong', (text, from, to) => {
    const { problems } = ask(text)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatchObject({ from, to })
  })
  it('prints what it read', () => {
    for (const text of ['state:failed|crashed tag:"two words" name:"a|b"', 'name:"q\\"uote"', 'tag:a tag:b']) {
      const once = print(scan(text).tokens)
      expect(print(scan(once).tokens)).toBe(once)
      expect(ask(once).filter).toEqual(ask(text).filter)
    }
  })
  it('survives anything that is typed', () => {
    let seed = 7
    const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n
    const alphabet = 'ab:|" \\state:tag:newer:1h'
    for (let i = 0; i < 2000; i++) {
      let text = ''
      for (let j = random(24); j > 0; j--) text += alphabet[random(alphabet.length)]
      const { tokens } = scan(text)
      const once = print(tokens)
      expect(scan(once).tokens.map((t) => [t.key, t.values]), JSON.stringify(text)).toEqual(tokens.map((t) => [t.key, t.values]))
    }
  })
})

describe('toggle', () => {
  it('adds, replaces, and takes away', () => {
    expect(toggle('', 'state', ['failed'])).toBe('state:failed')
    expect(toggle('state:failed tag:a', 'state', ['late'])).toBe('tag:a state:late')
    expect(toggle('state:failed tag:a', 'state', ['failed'])).toBe('tag:a')
    expect(toggle('tag:a', 'tag', ['b'])).toBe('tag:a tag:b')
  })
})

describe('span', () => {
  it.each([['90s', 90], ['1.5h', 5400], ['2w', 1209600], ['x', null], ['5', null]])('%s', (text, want) => expect(span(text)).toBe(want))
})
