import { Link } from '@tanstack/react-router'
import type { FlowRun } from '../api/runs'
import { DeploymentLink, FlowLink, QueueLink } from './names'
import { Tags } from './page'
import { StateBadge } from './state-badge'
import { rowLink, Table, type Column } from './table'
import { Ago, Took } from './time'

interface Props {
  runs: FlowRun[]
  /** the runs have not begun */
  upcoming?: boolean
  /** for a place beside others: only what matters most */
  compact?: boolean
  /** what all of them have in common needs no column */
  without?: ('flow' | 'deployment')[]
  selected?: Set<string>
  onSelect?: (id: string, range: boolean) => void
  onSelectAll?: (all: boolean) => void
}

export function RunTable({ runs, upcoming, compact, without = [], ...selection }: Props) {
  const columns: Column<FlowRun>[] = [
    {
      header: 'Flow run',
      cell: (r) => (
        <div className="min-w-32">
          <Link to="/runs/$id" params={{ id: r.id }} className={rowLink}>{r.name}</Link>
          <div className="flex flex-wrap items-baseline gap-x-2.5 gap-y-0.5 text-[13px] text-muted">
            {!without.includes('flow') && <span><FlowLink id={r.flowId} />{r.deploymentId && !without.includes('deployment') && <> / <DeploymentLink id={r.deploymentId} short /></>}</span>}
            {!compact && <Tags tags={r.tags} />}
          </div>
        </div>
      ),
    },
    { header: 'State', cell: (r) => <StateBadge type={r.stateType} name={r.stateName} /> },
    ...(upcoming
      ? [{ header: 'Due', right: true, cell: (r: FlowRun) => <Ago at={r.nextScheduledStartTime ?? r.expectedStartTime} /> }]
      : [
          { header: 'Started', from: 'sm' as const, right: true, cell: (r: FlowRun) => <Ago at={r.startTime ?? r.expectedStartTime} /> },
          { header: 'Took', right: true, cell: (r: FlowRun) => <Took start={r.startTime} end={r.endTime} seconds={r.totalRunTime} /> },
          ...(compact ? [] : [
          { header: 'Agent', from: 'xl' as const, cell: (r: FlowRun) => <span className="text-muted">{r.agentName ?? '–'}</span> },
          { header: 'Queue', from: 'lg' as const, cell: (r: FlowRun) => (r.workQueueId ? <QueueLink id={r.workQueueId} /> : <span className="text-muted">–</span>) },
          ]),
        ]),
  ]
  return <Table label={upcoming ? 'Upcoming runs' : 'Flow runs'} columns={columns} rows={runs} id={(r) => r.id} {...selection} />
}
