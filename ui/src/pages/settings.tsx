import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { setPreference, usePreferences } from '../app/preferences'
import { address } from '../api/fetch'
import { settings, version } from '../api/system'
import { Loaded } from '../components/feedback'
import { Field, Input, Select, Switch } from '../components/field'
import { Card, Facts, Page } from '../components/page'

export function SettingsPage() {
  const p = usePreferences()
  const v = useQuery(version())
  const query = useQuery(settings())
  const [find, setFind] = useState('')
  const link = 'text-accent underline'
  return (
    <Page title="Settings">
      <div className="flex flex-col gap-4">
        <Card title="This browser">
          <div className="grid gap-4 sm:grid-cols-3">
            <Field label="Theme">{(a) => <Select {...a} value={p.theme} onChange={(e) => setPreference('theme', e.target.value as typeof p.theme)}><option value="system">as the system</option><option value="light">light</option><option value="dark">dark</option></Select>}</Field>
            <Field label="Colours of charts" hint="The standard ones are told apart with every common colour vision.">{(a) => <Select {...a} value={p.palette} onChange={(e) => setPreference('palette', e.target.value as typeof p.palette)}><option value="standard">standard</option><option value="lightness">by lightness</option></Select>}</Field>
            <Field label="Times">{(a) => <Select {...a} value={p.zone} onChange={(e) => setPreference('zone', e.target.value as typeof p.zone)}><option value="local">local ({Intl.DateTimeFormat().resolvedOptions().timeZone})</option><option value="utc">UTC</option><option value="schedule">the schedule's, local elsewhere</option></Select>}</Field>
          </div>
          <div className="mt-4"><Switch on={p.keys} onChange={(on) => setPreference('keys', on)} label="Single letters are shortcuts (press ? for all of them)" showLabel /></div>
        </Card>
        <Card title="This server">
          <Facts items={[
            ['Version', v.data], ['API', <a className={link} href={address('api/openapi.json')}>OpenAPI description</a>], ['Metrics', <a className={link} href={address('metrics')}>for Prometheus</a>],
            ['Condition', <a className={link} href={address('readyz?verbose')}>readyz</a>], ['Components', <Link className={link} to="/gallery">gallery</Link>],
          ]} />
        </Card>
        <Card title="Its settings" flush aside={<Input type="search" data-search aria-label="Find settings" placeholder="Find" value={find} onChange={(e) => setFind(e.target.value)} className="max-w-56" />}>
          <Loaded query={query} rows={10}>
            {(all) => (
              <table className="w-full text-left" aria-label="Settings">
                <thead className="sr-only"><tr><th>Name</th><th>Value</th></tr></thead>
                <tbody>
                  {Object.entries(all as Record<string, unknown>).filter(([k]) => k.toLowerCase().includes(find.toLowerCase())).map(([k, value]) => (
                    <tr key={k} className="border-b border-line last:border-0"><th scope="row" className="px-4 py-1.5 font-normal break-all"><code>{k}</code></th><td className="px-4 py-1.5 break-all">{String(value) || <span className="text-muted">not set</span>}</td></tr>
                  ))}
                </tbody>
              </table>
            )}
          </Loaded>
        </Card>
      </div>
    </Page>
  )
}
