import { describe, expect, it } from 'vitest'
import { queuesThatMatch } from './queue-match'

const d = { id: 'd', tags: ['tutorial', 'test'], flowRunner: { type: 'subprocess' } }
const queue = (name: string, filter: object, isPaused = false) => ({ name, filter, isPaused })
const names = (...queues: ReturnType<typeof queue>[]) => queuesThatMatch(d, queues).map((q) => q.name)

describe('the queues of a deployment', () => {
  it('are those whose every criterion holds', () => {
    expect(
      names(queue('all', {}), queue('tag', { tags: ['tutorial'] }), queue('both', { tags: ['tutorial', 'test'] }), queue('other', { tags: ['tutorial', 'prod'] }), queue('mine', { deploymentIds: ['d'] }),
        queue('yours', { deploymentIds: ['e'] }), queue('docker', { flowRunnerTypes: ['docker'] }), queue('empty', { tags: [], deploymentIds: null }), queue('nothing', { deploymentIds: [] })),
    ).toEqual(['all', 'both', 'empty', 'mine', 'tag'])
  })
  it('have those first that are not paused', () => expect(names(queue('a', {}, true), queue('b', {}))).toEqual(['b', 'a']))
  it('count the tags that a run adds', () => expect(queuesThatMatch(d, [queue('prod', { tags: ['prod'] })], ['prod'])).toHaveLength(1))
})
