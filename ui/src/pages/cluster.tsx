import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Crown, Download, Trash2 } from 'lucide-react'
import { useState } from 'react'
import { download } from '../api/fetch'
import { cluster, clusterHealth, removeMember, transferLeadership, type Cluster, type ClusterHealth } from '../api/system'
import { Button } from '../components/button'
import { CommandLine, Id } from '../components/copy'
import { Confirm } from '../components/dialog'
import { Failure, Loaded } from '../components/feedback'
import { Menu } from '../components/menu'
import { Card, Facts, Page } from '../components/page'
import { ToneIcon } from '../components/state-badge'
import { Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import type { Tone } from '../core/states'

type Member = ClusterHealth['members'][number]

const bytes = (n: number | null | undefined) => {
  if (n === null || n === undefined) return '–'
  const at = n > 0 ? Math.min(4, Math.floor(Math.log(n) / Math.log(1024))) : 0
  return `${(n / 1024 ** at).toFixed(at > 0 ? 1 : 0)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][at]}`
}

function health(m: Member): [Tone, string] {
  if (!m.alive) return ['failed', m.error || 'gone']
  if (m.halted) return ['crashed', `halted: ${m.halted}`]
  if ((m.problems ?? []).length > 0) return ['late', m.problems!.join('; ')]
  return ['completed', 'healthy']
}

export function ClusterPage() {
  const cache = useQueryClient()
  const query = useQuery(clusterHealth())
  const [doomed, setDoomed] = useState<Member | null>(null)
  const [error, setError] = useState<unknown>(null)
  const changed = () => { void cache.invalidateQueries({ queryKey: ['cluster-health'] }); void cache.invalidateQueries({ queryKey: ['cluster'] }) }
  const columns: Column<Member>[] = [
    { header: 'Node', cell: (m) => <div className="min-w-28"><span className="font-medium">{m.name}</span>{m.id === query.data?.nodeId && <span className="text-[13px] text-muted"> answers you</span>}<div className="text-[13px] text-muted">{m.httpAddress}</div></div> },
    { header: 'Role', cell: (m) => m.leader ? <span className="tone-running inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium text-(--tone)"><Crown size={13} aria-hidden /> Leader</span> : m.voter ? 'Follower' : 'Non-voter' },
    { header: 'Health', cell: (m) => { const [tone, text] = health(m); return <span className={`tone-${tone} inline-flex items-start gap-1.5 text-(--tone)`}><span className="mt-1"><ToneIcon tone={tone} size={13} /></span> {text}</span> } },
    { header: 'Applied', from: 'md', right: true, cell: (m) => m.appliedIndex.toLocaleString('en') },
    { header: 'Behind', from: 'sm', right: true, cell: (m) => (m.lagEntries == null ? '–' : m.lagEntries.toLocaleString('en')) },
    { header: 'Disk free', from: 'lg', right: true, cell: (m) => <>{bytes(m.diskFreeBytes)}{m.diskSizeBytes ? <span className="text-muted"> of {bytes(m.diskSizeBytes)}</span> : null}</> },
    { header: 'Version', from: 'xl', cell: (m) => <span className="text-muted">{m.version}</span> },
    {
      header: 'Actions', silent: true, right: true,
      cell: (m) => <Menu label={`More for ${m.name}`} items={[
        !m.leader && m.voter && m.alive && { label: 'Make it the leader', needs: 'admin' as const, icon: <Crown size={15} aria-hidden />, onSelect: () => void transferLeadership(m.id).then(() => { tell(`${m.name} leads.`); changed() }, tellFailure) },
        !m.leader && { label: 'Remove from the cluster…', needs: 'admin' as const, danger: true, icon: <Trash2 size={15} aria-hidden />, onSelect: () => setDoomed(m) },
      ]} />,
    },
  ]
  return (
    <Page wide title="Cluster" titleMark={query.data && <Status status={query.data.status} />}
      actions={<Button needs="admin" onClick={() => void download('/cluster/snapshot', `sluice-${new Date().toISOString().slice(0, 16).replace(/[:T]/g, '-')}.snapshot`).catch(tellFailure)}><Download size={15} aria-hidden /> Download a snapshot</Button>}>
      <Loaded query={query}>
        {(c) => (
          <div className="flex flex-col gap-4">
            {c.reasons.map((r, i) => (
              <div key={i} role="alert" className={`${r.status === 'down' ? 'tone-failed' : 'tone-late'} flex flex-col gap-2 rounded-lg border border-line bg-(--tone-soft) p-3.5`}>
                <p className="font-medium text-(--tone)">{r.text}</p>
                {r.try && (/^(sluice|journalctl|systemctl|df|chrony)/.test(r.try) ? <CommandLine command={r.try} /> : <p>{r.try}</p>)}
              </div>
            ))}
            <Card>
              <Facts items={[
                ['Nodes that vote', `${c.votersLive} of ${c.voters} live`], ['Quorum', `${c.quorum}: ${c.lossesLeft < 0 ? 'lost' : c.lossesLeft === 0 ? 'can lose none' : `can lose ${c.lossesLeft}`}`],
                ['Leader', c.members.find((m) => m.leader)?.name ?? 'none'], ['Term', c.term.toLocaleString('en')], ['Cluster', <Id id={c.clusterId} />],
              ]} />
            </Card>
            <Card title="Nodes" flush><Table label="Nodes" columns={columns} rows={c.members} id={(m) => m.id} /></Card>
            <Snapshots members={c.members} />
            <Leaders />
            {c.voters === 1 && (
              <Card title="One node survives nothing">
                <div className="flex flex-col gap-3">
                  <p className="text-muted">With three nodes, any one may die and nothing that was accepted is lost. Start two more, each on a machine of its own, with the certificates of <code>sluice cluster tls init</code>:</p>
                  <CommandLine command="sluice server start --data-dir /var/lib/sluice --http-addr 0.0.0.0:4200 --internal-addr HOST:4201 --join FIRST_HOST:4201 --tls-ca ca.pem --tls-cert node.pem --tls-key node-key.pem" />
                  <p className="text-muted">The first node must be reachable from the others: its <code>--internal-addr</code> is {c.members[0]?.address}.</p>
                </div>
              </Card>
            )}
          </div>
        )}
      </Loaded>
      {doomed && <Confirm title={`Remove ${doomed.name}?`} action="Remove the node" onClose={() => { setDoomed(null); setError(null) }} error={error ? <Failure error={error} /> : null} onConfirm={() => void removeMember(doomed.id).then(() => { tell(`Removed ${doomed.name}.`); setDoomed(null); changed() }, setError)}><p>Its data stays on its disk. It comes back only as a new node, with an empty data directory.</p></Confirm>}
    </Page>
  )
}

function Status({ status }: { status: string }) {
  const tone: Tone = status === 'healthy' ? 'completed' : status === 'degraded' ? 'late' : 'failed'
  return <span className={`tone-${tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-3 py-1 font-medium text-(--tone) capitalize`}><ToneIcon tone={tone} size={15} /> {status}</span>
}

const snapshotColumns: Column<Member>[] = [
  { header: 'Node', cell: (m) => <span className="font-medium">{m.name}</span> },
  { header: 'Holds all up to', right: true, cell: (m) => (m.snapshot ? m.snapshot.index.toLocaleString('en') : <span className="text-muted">not told</span>) },
  { header: 'State on disk', right: true, cell: (m) => bytes(m.snapshot?.bytes) },
  { header: 'Log from', from: 'md', right: true, cell: (m) => (m.snapshot ? <>{m.snapshot.logFirst.toLocaleString('en')} <span className="text-muted">({bytes(m.snapshot.logBytes)})</span></> : '–') },
  { header: 'Log shortened', from: 'sm', cell: (m) => (m.snapshot?.compacted ? <Ago at={m.snapshot.compacted} /> : <span className="text-muted">{m.snapshot ? 'not since its start' : '–'}</span>) },
  { header: 'Sent, received', from: 'lg', right: true, cell: (m) => (m.snapshot ? `${m.snapshot.sent}, ${m.snapshot.installed}` : '–') },
]

/** Snapshots is what each node would send to one that is too far behind for the log: its database as it is. */
function Snapshots({ members }: { members: Member[] }) {
  return (
    <Card title="Snapshots" flush>
      <p className="px-4 pb-2 text-muted">The database of a node is its snapshot: as new as what it has applied. Older entries of the log go when it has them.</p>
      <Table label="Snapshots" columns={snapshotColumns} rows={members} id={(m) => m.id} />
    </Card>
  )
}

type Leader = Cluster['leaders'][number]

const leaderColumns: Column<Leader>[] = [
  { header: 'Leader', cell: (l) => <span className="font-medium">{l.name || l.id}</span> },
  { header: 'Since', cell: (l) => <Ago at={l.since} /> },
  { header: 'Term', right: true, cell: (l) => l.term.toLocaleString('en') },
  { header: 'From entry', from: 'sm', right: true, cell: (l) => l.epoch.toLocaleString('en') },
]

function Leaders() {
  const query = useQuery(cluster())
  return <Card title="Leaders so far" flush><Loaded query={query}>{(c) => <Table label="Leaders so far" columns={leaderColumns} rows={c.leaders} id={(l) => String(l.epoch)} />}</Loaded></Card>
}
