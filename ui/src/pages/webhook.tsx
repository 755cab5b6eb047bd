import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { Pause, Pencil, Play, RotateCw, Send, Trash2 } from 'lucide-react'
import { deliveries, redeliver, webhook, type Delivery } from '../api/webhooks'
import { Button, IconButton } from '../components/button'
import { Id } from '../components/copy'
import { Empty, Failure, Loaded } from '../components/feedback'
import { Card, Facts, Page } from '../components/page'
import { StateBadge, ToneIcon } from '../components/state-badge'
import { Table, type Column } from '../components/table'
import { Ago } from '../components/time'
import { tell, tellFailure } from '../components/toasts'
import type { Tone } from '../core/states'
import { duration } from '../core/time'
import { Condition, criteriaWords, useWebhookActions } from './webhooks'

const looks: Record<Delivery['status'], [Tone, string]> = { waiting: ['running', 'Waiting'], delivered: ['completed', 'Delivered'], given_up: ['failed', 'Given up'] }

export function WebhookPage() {
  const { id } = useParams({ from: '/shell/webhooks/$id' })
  const navigate = useNavigate()
  const query = useQuery(webhook(id))
  const log = useQuery(deliveries(id))
  const actions = useWebhookActions(() => void navigate({ to: '/webhooks' }))
  const w = query.data
  const columns: Column<Delivery>[] = [
    {
      header: 'Status',
      cell: (d) => {
        const [tone, word] = looks[d.status]
        return <span className={`tone-${tone} inline-flex items-center gap-1.5 rounded-full bg-(--tone-soft) px-2 py-0.5 text-[13px] font-medium whitespace-nowrap text-(--tone)`}><ToneIcon tone={tone} size={13} /> {word}</span>
      },
    },
    {
      header: 'Tells of',
      cell: (d) => d.test || !d.flowRunId ? <span className="text-muted">a test</span> : (
        <span className="flex flex-wrap items-center gap-x-3 gap-y-1"><Link to="/runs/$id" params={{ id: d.flowRunId }} className="font-medium hover:underline">{d.flowRunName}</Link><StateBadge type={d.stateType} name={d.stateName} /></span>
      ),
    },
    { header: 'Answer', from: 'sm', cell: (d) => <span className="break-words">{d.responseCode ?? (d.attempts > 0 ? 'none' : '–')}{d.error && <span className="block text-[13px] text-danger">{d.error}</span>}</span> },
    { header: 'Attempts', from: 'md', right: true, cell: (d) => <>{d.attempts}{d.status === 'waiting' && d.nextAttempt && d.attempts > 0 && <span className="block text-[13px] text-muted">next <Ago at={d.nextAttempt} /></span>}</> },
    { header: 'Took', from: 'lg', right: true, cell: (d) => (d.attempts > 0 ? duration(d.duration) : '–') },
    { header: 'Created', right: true, cell: (d) => <Ago at={d.created} /> },
    { header: 'Actions', silent: true, right: true, cell: (d) => d.status !== 'waiting' && <IconButton label="Send it again" onClick={() => void redeliver(id, d.id).then(() => { tell('Sent again.'); actions.changed() }, tellFailure)}><RotateCw size={15} aria-hidden /></IconButton> },
  ]
  if (query.error && !w) return <Page title="Webhook" crumbs={[{ label: 'Notifications', link: { to: '/webhooks' } }]}><Failure error={query.error} retry={() => void query.refetch()} /></Page>
  return (
    <Page wide title={w?.name ?? 'Webhook'} titleMark={w && <Condition w={w} />} crumbs={[{ label: 'Notifications', link: { to: '/webhooks' } }]}
      actions={w && (
        <>
          <Button data-key="r" onClick={() => actions.test(w)}><Send size={15} aria-hidden /> Send a test message</Button>
          <Button onClick={() => actions.pause(w)}>{w.paused ? <><Play size={15} aria-hidden /> Resume</> : <><Pause size={15} aria-hidden /> Pause</>}</Button>
          <Button onClick={() => actions.edit(w)}><Pencil size={15} aria-hidden /> Edit</Button>
          <Button kind="danger" onClick={() => actions.remove(w)}><Trash2 size={15} aria-hidden /> Delete</Button>
        </>
      )}>
      <Loaded query={query}>
        {(w) => (
          <div className="flex flex-col gap-4">
            <Card>
              <Facts items={[
                ['Address', <span className="break-all">{w.url}</span>], ['Is told of', criteriaWords(w)], ['Waiting', w.waiting > 0 ? <>{w.waiting.toLocaleString('en')}{w.oldest && <span className="text-muted">, the oldest <Ago at={w.oldest} /></span>}</> : 'nothing'],
                ['Delivered', <>{w.delivered.toLocaleString('en')}{w.lastDelivered && <span className="text-muted">, last <Ago at={w.lastDelivered} /></span>}</>], ['Given up', w.givenUp.toLocaleString('en')], w.dropped > 0 && ['Dropped', `${w.dropped.toLocaleString('en')}: the outbox was full`],
                w.lastError && ['Last error', <span className="text-danger">{w.lastError}</span>], ['Id', <Id id={w.id} />],
              ]} />
            </Card>
            <Card title="Messages" flush aside={<span className="text-[13px] text-muted">what waits first, then what was delivered or given up</span>}>
              <Loaded query={log}>{(all) => all.length === 0 ? <Empty title="No messages yet" command={`sluice webhook test ${w.name}`}>The next run that takes such a state is told of here. A test message shows whether the receiver answers.</Empty> : <Table label="Messages" columns={columns} rows={all} id={(d) => d.id} />}</Loaded>
            </Card>
          </div>
        )}
      </Loaded>
      {actions.dialogs}
    </Page>
  )
}
