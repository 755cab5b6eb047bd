import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { deployments, flows } from '../api/deployments'
import { workQueues } from '../api/queues'

/** useNames knows what flows, deployments and queues are called. */
export function useNames() {
  const f = useQuery(flows())
  const d = useQuery(deployments())
  const q = useQuery(workQueues())
  const flowName = (id: string | null | undefined) => f.data?.find((x) => x.id === id)?.name
  return {
    flowName,
    deployment: (id: string | null | undefined) => d.data?.find((x) => x.id === id),
    deploymentName: (id: string | null | undefined) => {
      const found = d.data?.find((x) => x.id === id)
      return found && `${flowName(found.flowId) ?? '…'}/${found.name}`
    },
    queueName: (id: string | null | undefined) => q.data?.find((x) => x.id === id)?.name,
    queues: q.data,
    deployments: d.data,
  }
}

const quiet = 'hover:text-text hover:underline'

export function FlowLink({ id }: { id: string }) {
  const { flowName } = useNames()
  return <Link to="/flows/$id" params={{ id }} className={quiet}>{flowName(id) ?? id.slice(0, 8)}</Link>
}

export function DeploymentLink({ id, short }: { id: string; short?: boolean }) {
  const { deploymentName, deployment } = useNames()
  return <Link to="/deployments/$id" params={{ id }} className={quiet}>{(short ? deployment(id)?.name : deploymentName(id)) ?? id.slice(0, 8)}</Link>
}

export function QueueLink({ id }: { id: string }) {
  const { queueName } = useNames()
  return <Link to="/queues/$id" params={{ id }} className={quiet}>{queueName(id) ?? id.slice(0, 8)}</Link>
}
