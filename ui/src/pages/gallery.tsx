import { Zap } from 'lucide-react'
import { useState } from 'react'
import { ApiError } from '../api/fetch'
import { ArtifactView } from '../components/artifact-view'
import { Button } from '../components/button'
import { CommandLine, Id } from '../components/copy'
import { Dialog } from '../components/dialog'
import { Reasons } from '../components/explain'
import { Empty, Failure, Skeleton } from '../components/feedback'
import { Field, Input, Select, Switch, Textarea } from '../components/field'
import { HistoryChart } from '../components/history-chart'
import { JSONView } from '../components/json-view'
import { Markdown } from '../components/markdown'
import { MeanChart } from '../components/mean-chart'
import { Menu } from '../components/menu'
import { Card, Facts, Page, Tags } from '../components/page'
import { RunStrip } from '../components/run-strip'
import { StateBadge, StateMessage } from '../components/state-badge'
import { StateChoice, type ChosenState } from '../components/state-choice'
import { StatesList } from '../components/states-list'
import { Table } from '../components/table'
import { Timeline } from '../components/timeline'
import { tell } from '../components/toasts'
import { means } from '../core/history'
import { setPreference, usePreferences } from '../app/preferences'

const states: [string, string][] = [['SCHEDULED', 'Scheduled'], ['SCHEDULED', 'Late'], ['SCHEDULED', 'AwaitingRetry'], ['PENDING', 'Pending'], ['RUNNING', 'Running'], ['RUNNING', 'Cancelling'], ['COMPLETED', 'Completed'], ['COMPLETED', 'Cached'], ['FAILED', 'Failed'], ['FAILED', 'TimedOut'], ['FAILED', 'Crashed'], ['CANCELLED', 'Cancelled']]
const start = Date.parse('2026-03-01T00:00:00Z')
const sample = Array.from({ length: 48 }, (_, i) => ({
  intervalStart: new Date(start + i * 1_800_000).toISOString(), intervalEnd: new Date(start + (i + 1) * 1_800_000).toISOString(),
  states: states.map(([stateType, stateName], k) => ({ stateType, stateName, countRuns: Math.max(0, Math.round(9 * Math.sin(i / 6 + k) - 4 + (stateName === 'Completed' ? 9 : 0))), sumEstimatedLateness: 0, sumEstimatedRunTime: 0 })),
})) as never

const at = (s: number) => new Date(Date.parse('2026-03-01T12:00:00Z') + s * 1000).toISOString()
const sampleTasks = [['extract-0', 0, 4, 'COMPLETED'], ['extract-1', 1, 7, 'FAILED'], ['load-0', 4, 9, 'COMPLETED']].map(([name, from, to, type], i) => ({ id: `t${i}`, name, startTime: at(from as number), endTime: at(to as number), expectedStartTime: at(from as number), stateType: type, state: { type, name: null } })) as never
const sampleRuns = Array.from({ length: 12 }, (_, i) => ({ id: `r${i}`, name: `run ${i}`, stateType: i % 5 === 2 ? 'FAILED' : 'COMPLETED', stateName: i % 5 === 2 ? 'Failed' : 'Completed', totalRunTime: 3 + (i % 4) * 5 })) as never

/** Gallery is every component once, to look at in both themes. */
export function Gallery() {
  const { theme } = usePreferences()
  const [on, setOn] = useState(true)
  const [open, setOpen] = useState(false)
  const [chosen, setChosen] = useState<ChosenState>({ type: 'CANCELLED', message: '', force: false })
  return (
    <Page wide title="Components" actions={<Button onClick={() => setPreference('theme', theme === 'dark' ? 'light' : 'dark')}>Other theme</Button>}>
      <div className="grid grid-cols-[minmax(0,1fr)] gap-4 xl:grid-cols-2">
        <Card title="States"><div className="flex flex-wrap gap-2">{states.map(([t, n]) => <StateBadge key={n} type={t} name={n} />)}</div></Card>
        <Card title="Buttons">
          <div className="flex flex-wrap items-center gap-2"><Button kind="primary"><Zap size={15} aria-hidden /> Primary</Button><Button>Plain</Button><Button kind="quiet">Quiet</Button><Button kind="danger">Danger</Button><Button disabled>Disabled</Button><Button small>Small</Button><Menu label="A menu" items={[{ label: 'Tell', onSelect: () => tell('Told.') }, { label: 'Tell of a failure', danger: true, onSelect: () => tell('It failed.', true) }]} /><Button onClick={() => setOpen(true)}>Dialog</Button></div>
        </Card>
        <Card title="Fields">
          <div className="grid gap-3 sm:grid-cols-2"><Field label="Text" hint="A hint.">{(a) => <Input {...a} />}</Field><Field label="Wrong" error="What is wrong.">{(a) => <Input {...a} defaultValue="x" />}</Field><Field label="Choice">{(a) => <Select {...a}><option>one</option><option>two</option></Select>}</Field><Field label="More text">{(a) => <Textarea {...a} rows={2} />}</Field><Switch on={on} onChange={setOn} label="A switch" showLabel /></div>
        </Card>
        <Card title="Feedback"><div className="flex flex-col gap-3"><Failure error={new ApiError('The flow run has ended.', 409, 'conflict', 'Run it again with sluice flow-run rerun.', '1a2b3c4d-00000007')} retry={() => {}} /><CommandLine command="sluice agent start tutorial_queue" /><div data-sample><Skeleton rows={2} /></div></div></Card>
        <Card title="History"><HistoryChart history={sample} now={start + 40 * 1_800_000} onBrush={() => {}} /></Card>
        <Card title="Facts"><Facts items={[['Flow', 'leonardo_dicapriflow'], ['Tags', <Tags tags={['tutorial', 'test']} />], ['Id', <Id id="01a20aeb-937f-757b-abe6-6542a76e2b98" />]]} /></Card>
        <Card title="States of a run"><StatesList states={[{ id: '1', type: 'SCHEDULED', name: 'Scheduled', timestamp: '2026-03-01T12:00:00Z', message: null, actor: 'alex' }, { id: '2', type: 'RUNNING', name: 'Running', timestamp: '2026-03-01T12:00:01Z', message: null, actor: 'agent one' }, { id: '3', type: 'FAILED', name: 'Failed', timestamp: '2026-03-01T12:00:04Z', message: 'ValueError: no rows', actor: null }] as never} /></Card>
        <Card title="JSON"><JSONView label="sample" value={{ name: 'Leo', big: 12345678901234567890n }} /></Card>
        <Card title="Table" flush><Table label="Sample" rows={['one', 'two']} id={(r) => r} columns={[{ header: 'Name', cell: (r) => r }, { header: 'Length', right: true, cell: (r) => r.length }]} /></Card>
        <Card title="Means"><MeanChart title="How long runs took" means={means(sample).map((m, i) => ({ ...m, duration: 4 + 3 * Math.sin(i / 5) }))} of={(m) => m.duration} tone="running" /></Card>
        <Card title="Why a run waits"><Reasons explanation={{ flowRunId: '', stateType: 'SCHEDULED', stateName: 'Scheduled', waiting: true, summary: '', reasons: [{ code: 'queue_full', message: "Work queue 'shop' is full: 2 of 2 slots are in use.", unblock: 'Wait until one of its runs ends, or raise the limit: sluice work-queue set-concurrency-limit shop N', command: 'sluice work-queue slots shop' }, { code: 'not_due', message: 'The run is due at 2026-03-01T12:00:00Z.', unblock: 'Wait until then.' }] } as never} /></Card>
        <Card title="Markdown"><Markdown text={'### Sales\n\n**5,466 orders** from `warehouse.sales`, see [the table](https://example.org).\n\n- north\n- south\n\n| region | orders |\n|---|--:|\n| north | 1,385 |\n\n> Not final before noon.'} /></Card>
        <Card title="Artifact"><ArtifactView of={{ id: 'a', created: '2026-03-01T12:00:00Z', key: 'orders-by-region', type: 'table', description: 'what came in', size: 90, data: [{ region: 'north', orders: 1385 }, { region: 'south', orders: 1348 }], flowRunId: '', taskRunId: null }} /></Card>
        <Card title="Timeline" flush><Timeline runId="" following={false} from="2026-03-01T12:00:00Z" tasks={sampleTasks} /></Card>
        <Card title="Message of a state"><div className="flex flex-col gap-3"><StateMessage type="FAILED" name="Crashed" message="The agent was not heard from for 12 s." /><StateMessage type="RUNNING" name="Cancelling" message="Cancelled by alex." /></div></Card>
        <Card title="Last runs"><RunStrip runs={sampleRuns} /></Card>
        <Card title="Choosing a state"><StateChoice value={chosen} onChange={setChosen} /></Card>
        <Card title="Empty" flush><Empty title="Nothing here" command="sluice deployment create leo_deployment.py">What would be here.</Empty></Card>
      </div>
      {open && <Dialog title="A dialog" onClose={() => setOpen(false)}><p>It keeps the focus and closes with Esc.</p></Dialog>}
    </Page>
  )
}
