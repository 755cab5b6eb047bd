// Which work queues will give out a deployment's runs: the rule of the server, to show before there is a run.

interface Queue {
  filter: { tags?: string[] | null; deploymentIds?: string[] | null; flowRunnerTypes?: string[] | null }
  isPaused: boolean
  name: string
}

interface Candidate {
  id: string
  tags: string[]
  flowRunner: { type?: string | null }
}

/** queuesThatMatch are those whose every criterion holds; those that are not paused come first. */
export function queuesThatMatch<Q extends Queue>(d: Candidate, queues: Q[], moreTags: string[] = []): Q[] {
  const tags = [...d.tags, ...moreTags]
  return queues
    .filter((q) => {
      const { tags: wanted, deploymentIds, flowRunnerTypes } = q.filter
      return (
        (!wanted?.length || wanted.every((t) => tags.includes(t))) &&
        // A list without anything in it takes nothing.
        (!deploymentIds || deploymentIds.includes(d.id)) &&
        (!flowRunnerTypes || flowRunnerTypes.includes(d.flowRunner.type ?? ''))
      )
    })
    .sort((a, b) => Number(a.isPaused) - Number(b.isPaused) || a.name.localeCompare(b.name))
}
