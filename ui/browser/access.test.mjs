// A server that asks for tokens: signing in and out, tokens that are wrong, ended or revoked, what each role is offered, the pages of
// tokens and of the audit trail. And the mark that says how fresh the page is.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { api, freePorts, launch, open, ready, run, scratch, start, until } from './harness.mjs'

test('a server that asks for tokens', async (t) => {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  const [port] = await freePorts(1)
  const address = `http://127.0.0.1:${port}`
  const admin = run(home, ['token', 'generate']).trim()
  writeFileSync(join(dir, 'admin-token'), admin, { mode: 0o600 })
  start(t, home, ['server', 'start', '--data-dir', join(dir, 'data'), '--http-addr', `127.0.0.1:${port}`, '--internal-addr', '127.0.0.1:0', '--gossip-addr', '', '--insecure', '--auth', 'on', '--bootstrap-token-file', join(dir, 'admin-token')])
  await ready(address)
  await until('the first token is good', async () => (await fetch(`${address}/api/whoami`, { headers: { Authorization: `Bearer ${admin}` } })).ok)
  const as = (token) => ({ Authorization: `Bearer ${token}` })
  const make = async (name, role, more = {}) => (await api(address, 'POST', '/tokens', { name, role, ...more }, as(admin)))
  const [viewer, operator, brief] = await Promise.all([make('vera', 'viewer'), make('otto', 'operator'), make('bree', 'viewer', { expires: new Date(Date.now() + 4000).toISOString() })])
  const flow = await api(address, 'POST', '/flows', { name: 'orders' }, as(admin))
  const deployment = await api(address, 'POST', '/deployments', { name: 'nightly', flow_id: flow.id, flow_data: { encoding: 'sluice/command', blob: '["true"]' }, tags: ['prod'], schedule: { interval: 86400 }, is_schedule_active: false }, as(admin))
  const queue = await api(address, 'POST', '/work_queues', { name: 'main', filter: { tags: ['prod'] } }, as(admin))
  const flowRun = await api(address, 'POST', '/flow_runs', { flow_id: flow.id, state: { type: 'RUNNING' } }, as(admin))

  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, address)
  const enter = async (token) => {
    await page.getByRole('textbox', { name: 'Token' }).fill(token)
    await page.getByRole('button', { name: 'Sign in' }).click()
  }

  /** writing are the buttons of a page that say that they change something. */
  const writing = () => page.getByRole('main').getByRole('button').evaluateAll((all) =>
    all.filter((b) => !b.disabled).map((b) => (b.getAttribute('aria-label') ?? b.textContent).trim()).filter((w) => !/^(Copy|Download|Saved|Clear the filter)/.test(w) && /create|quick|run|cancel|retry|delete|edit|pause|resume|add|revoke|forget|drain|limit|remove|release|default/i.test(w) && w !== 'Running'))

  await t.test('whoever is not signed in is asked for a token, and comes back to where they were', async () => {
    await page.goto(`${address}/queues?q=main`)
    await page.getByRole('textbox', { name: 'Token' }).waitFor()
    await enter('nonsense')
    await page.getByText('The server does not know this token, or it has ended.').waitFor()
    assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0, 'a token that is not good is kept')
    await enter(viewer.token)
    await page.getByRole('link', { name: 'main', exact: true }).waitFor()
    assert.equal(new URL(page.url()).search, '?q=main')
    await page.getByText('vera').waitFor()
    await page.locator('[data-live=live]').waitFor()
  })

  await t.test('a viewer is offered nothing that writes', async () => {
    for (const path of ['/', '/runs', `/runs/${flowRun.id}`, '/flows', `/flows/${flow.id}`, '/deployments', `/deployments/${deployment.id}`, `/deployments/${deployment.id}?tab=schedules`, `/deployments/${deployment.id}?tab=parameters`, '/queues', `/queues/${queue.id}`, '/agents', '/limits', '/storage', '/cluster', '/jobs']) {
      await page.goto(address + path)
      await page.locator('h1').first().waitFor()
      await page.locator('main .skeleton').first().waitFor({ state: 'detached' })
      assert.deepEqual(await writing(), [], path)
      assert.equal(await page.getByRole('main').getByRole('switch', { disabled: false }).count(), 0, path)
    }
    await page.goto(`${address}/access`)
    await page.getByText('Only an admin sees this').waitFor()
  })

  await t.test('who signs out is asked again, also by the back button', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('textbox', { name: 'Token' }).waitFor()
    await page.goto(`${address}/queues`)
    await page.getByRole('textbox', { name: 'Token' }).waitFor()
    assert.equal(await page.getByText('main', { exact: true }).count(), 0)
  })

  await t.test('a token that has ended is turned away', async () => {
    await until('the token has ended', async () => (await fetch(`${address}/api/whoami`, { headers: as(brief.token) })).status === 401)
    await enter(brief.token)
    await page.getByText('The server does not know this token, or it has ended.').waitFor()
  })

  await t.test('an operator runs and pauses', async () => {
    await enter(operator.token)
    await page.getByRole('link', { name: 'main', exact: true }).waitFor()
    await page.goto(`${address}/deployments`)
    await page.getByRole('button', { name: 'Quick Run of nightly' }).click()
    assert.notDeepEqual(await writing(), [])
    await page.getByRole('status').getByRole('link').waitFor()
    await page.goto(`${address}/deployments/${deployment.id}`)
    await page.getByRole('button', { name: 'Quick Run', exact: true }).first().waitFor()
    assert.equal(await page.getByRole('button', { name: 'Delete' }).count(), 0, 'an operator may not delete deployments')
  })

  await t.test('a token that is revoked while a page is open leads to the sign-in', async () => {
    await page.goto(`${address}/runs`)
    await page.locator('[data-live=live]').waitFor()
    await api(address, 'DELETE', `/tokens/${operator.id}`, undefined, as(admin))
    // What happens on the server prompts a read; the page asks for nothing by itself.
    await api(address, 'POST', '/flow_runs', { flow_id: flow.id, state: { type: 'RUNNING' } }, as(admin))
    await page.getByRole('textbox', { name: 'Token' }).waitFor()
    assert.match(new URL(page.url()).search, /runs/)
  })

  await t.test('an admin makes and revokes tokens, and the audit trail has it', async () => {
    await enter(admin)
    await page.getByRole('heading', { name: 'Runs', level: 1 }).waitFor()
    await page.goto(`${address}/access`)
    const table = page.getByRole('table', { name: 'Tokens' })
    await table.getByText('vera').waitFor()
    await page.getByRole('button', { name: 'Create a token' }).click()
    await page.getByRole('dialog').getByLabel('Name').fill('ci')
    await page.getByRole('dialog').getByLabel('Role').selectOption('deployer')
    await page.getByRole('dialog').getByRole('button', { name: 'Create', exact: true }).click()
    const made = await page.getByRole('dialog').locator('code').innerText()
    assert.equal((await api(address, 'GET', '/whoami', undefined, as(made))).role, 'deployer')
    await page.getByRole('button', { name: 'I have it' }).click()
    await page.getByRole('button', { name: 'Revoke ci' }).click()
    await page.getByRole('button', { name: 'Revoke the token' }).click()
    await page.getByRole('button', { name: 'Revoke ci' }).waitFor({ state: 'detached' })
    assert.equal((await fetch(`${address}/api/whoami`, { headers: as(made) })).status, 401)
    await page.getByRole('link', { name: 'Audit', exact: true }).click()
    const trail = page.getByRole('table', { name: 'Audit trail' })
    await trail.getByText('otto').first().waitFor()
    await page.getByLabel('Who').fill('otto')
    await page.waitForFunction(() => [...document.querySelectorAll('table[aria-label="Audit trail"] tbody tr')].every((r) => r.textContent.includes('otto')))
  })
  // Being turned away is told by the browser on the console too.
  assert.deepEqual(complaints.filter((c) => !/401/.test(c)), [])
})

/** gate is a way to the server that can be shut: connections break, and new ones are refused. It can also let no stream through. */
async function gate(t, port) {
  const open = new Set()
  const state = { shut: false, streams: 0, most: 0 }
  const server = createServer((client) => {
    client.on('error', () => client.destroy())
    if (state.shut) return client.destroy()
    const upstream = connect(port, '127.0.0.1')
    upstream.on('error', () => client.destroy())
    let stream = false
    client.on('data', (d) => {
      if (stream || !/GET \/api\/events/.test(d)) return
      stream = true
      state.most = Math.max(state.most, ++state.streams)
    })
    for (const c of [client, upstream]) c.on('close', () => { client.destroy(); upstream.destroy() })
    client.on('close', () => { open.delete(client); if (stream) state.streams-- })
    client.pipe(upstream).pipe(client)
    open.add(client)
  })
  await new Promise((r) => server.listen(0, '127.0.0.1', r))
  t.after(() => { for (const c of open) c.destroy(); server.close() })
  return { address: `http://127.0.0.1:${server.address().port}`, state, shut: () => { state.shut = true; for (const c of open) c.destroy() }, open: () => { state.shut = false } }
}

test('the page says how fresh it is', async (t) => {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  const [port] = await freePorts(1)
  const direct = `http://127.0.0.1:${port}`
  start(t, home, ['server', 'start', '--data-dir', join(dir, 'data'), '--http-addr', `127.0.0.1:${port}`, '--internal-addr', '127.0.0.1:0', '--gossip-addr', '', '--insecure', '--auth', 'off'])
  await ready(direct)
  const way = await gate(t, port)
  const flow = await api(direct, 'POST', '/flows', { name: 'orders' })
  const begin = (name) => api(direct, 'POST', '/flow_runs', { flow_id: flow.id, name, state: { type: 'RUNNING' } })
  await begin('first-fox')
  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, way.address)
  await page.goto(`${way.address}/runs`)
  await page.getByRole('link', { name: 'first-fox' }).waitFor()
  await page.locator('[data-live=live]').waitFor()

  await t.test('Live: what happens shows at once, over one stream whatever pages are opened', async () => {
    const run = await begin('second-fox')
    await page.getByRole('link', { name: 'second-fox' }).click()
    await page.getByRole('log').or(page.getByText('No lines yet')).first().waitFor()
    await api(direct, 'POST', '/logs', [{ flow_run_id: run.id, name: 'n', level: 20, message: 'a line that comes', timestamp: new Date().toISOString() }])
    await page.getByText('a line that comes').waitFor()
    await page.getByRole('link', { name: 'Dashboard', exact: true }).first().click()
    await page.getByRole('heading', { name: 'Dashboard', level: 1 }).waitFor()
    await page.getByRole('link', { name: 'Runs', exact: true }).first().click()
    await page.getByRole('link', { name: 'second-fox' }).waitFor()
    await until('the streams of before are closed', () => way.state.streams === 1)
    // Opening a run's log opens the stream anew: for a moment there are two.
    assert.ok(way.state.most <= 2, `${way.state.most} streams at once`)
  })

  await t.test('Reconnecting, then Stale, when the way to the server breaks; Live again when it is back, with what was missed', async () => {
    way.shut()
    await page.locator('[data-live=reconnecting]').waitFor()
    await page.locator('[data-live=stale]').waitFor()
    await page.getByText(/^Stale \d/).waitFor()
    await begin('third-fox')
    way.open()
    await page.locator('[data-live=live]').waitFor()
    await page.getByRole('link', { name: 'third-fox' }).waitFor()
  })

  await t.test('without a stream the page polls', async () => {
    await page.route('**/api/events?*', (r) => r.abort())
    way.shut()
    way.open()
    await page.locator('[data-live=stale]').waitFor()
    await begin('fourth-fox')
    await page.getByRole('link', { name: 'fourth-fox' }).waitFor()
    await page.locator('[data-live=stale]').waitFor()
    await page.unroute('**/api/events?*')
    await page.locator('[data-live=live]').waitFor()
  })

  await t.test('a hidden tab stops, and goes on when it is seen', async () => {
    await page.clock.install()
    const seen = (state) => page.evaluate((s) => {
      Object.defineProperty(document, 'visibilityState', { value: s, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
    }, state)
    await seen('hidden')
    await page.clock.fastForward(21_000)
    await page.locator('[data-live=paused]').waitFor()
    await until('the stream is closed', () => way.state.streams === 0)
    await begin('fifth-fox')
    assert.equal(await page.getByRole('link', { name: 'fifth-fox' }).count(), 0)
    await seen('visible')
    await page.locator('[data-live=live]').waitFor()
    await page.clock.resume()
    await page.getByRole('link', { name: 'fifth-fox' }).waitFor()
  })
  assert.deepEqual(complaints, [])
})
