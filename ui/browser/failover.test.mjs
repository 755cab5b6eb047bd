// A page follows a run's log while the leader, which is also the node it is connected to, is killed: no line is missing, no reload.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { api, balancer, freePorts, launch, open, ready, scratch, start, until } from './harness.mjs'

test('a page that follows a log survives the death of the leader', async (t) => {
  const dir = scratch(t)
  const ports = await freePorts(9)
  const nodes = [0, 1, 2].map((i) => {
    const home = join(dir, `home${i}`)
    mkdirSync(home)
    const p = start(t, home, [
      'server', 'start', '--data-dir', join(dir, `data${i}`), '--node-name', `node-${i + 1}`, '--http-addr', `127.0.0.1:${ports[i]}`, '--internal-addr', `127.0.0.1:${ports[3 + i]}`, '--gossip-addr', `127.0.0.1:${ports[6 + i]}`,
      '--bootstrap-expect', '3', '--join', [3, 4, 5].map((k) => `127.0.0.1:${ports[k]}`).join(','), '--insecure', '--auth', 'off',
    ])
    return { ...p, port: ports[i], address: `http://127.0.0.1:${ports[i]}` }
  })
  await Promise.all(nodes.map((n) => ready(n.address)))
  const cluster = await api(nodes[0].address, 'GET', '/cluster')
  const leading = cluster.members.find((m) => m.id === cluster.leader)
  const leader = nodes.find((n) => leading.http_address.endsWith(`:${n.port}`))
  const order = [leader, ...nodes.filter((n) => n !== leader)].map((n) => n.port)
  const address = await balancer(t, () => order)

  const flow = await api(address, 'POST', '/flows', { name: 'long-haul' })
  const run = await api(address, 'POST', '/flow_runs', { flow_id: flow.id, name: 'steady-otter' })
  await api(address, 'POST', `/flow_runs/${run.id}/set_state`, { state: { type: 'RUNNING' } })
  const producer = randomUUID()
  let sequence = 0
  let written = 0
  const write = async (n) => {
    const lines = Array.from({ length: n }, () => ({ flow_run_id: run.id, name: 'flow', level: 20, message: `line ${++written}`, timestamp: new Date().toISOString() }))
    const headers = { 'X-Sluice-Log-Producer': producer, 'X-Sluice-Log-Sequence': String(++sequence) }
    await until('the lines are stored', () => api(address, 'POST', '/logs', lines, headers).then(() => true))
  }
  await write(20)

  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, address)
  await page.goto(`${address}/runs/${run.id}`)
  await page.getByRole('log').getByText('line 20', { exact: true }).waitFor()
  await page.locator('[data-live=live]').waitFor()
  await page.evaluate(() => (window.untouched = true))
  for (let i = 0; i < 5; i++) await write(7)
  leader.process.kill('SIGKILL')
  await leader.ended
  for (let i = 0; i < 10; i++) await write(7)
  await page.getByRole('log').getByText(`line ${written}`, { exact: true }).waitFor()
  await page.locator('[data-live=live]').waitFor()
  await write(3)
  await page.getByRole('log').getByText(`line ${written}`, { exact: true }).waitFor()

  assert.equal(await page.getByRole('log').getAttribute('data-lines'), String(written))
  const seen = new Set()
  const box = page.getByRole('log')
  // The list is windowed: look at all of it.
  for (let top = 0, end = await box.evaluate((e) => e.scrollHeight); top <= end; top += 200) {
    await box.evaluate((e, y) => new Promise((resolve) => { e.scrollTop = y; requestAnimationFrame(() => requestAnimationFrame(resolve)) }), top)
    for (const text of await box.locator('[data-index]').allInnerTexts()) seen.add(Number(/line (\d+)/.exec(text)?.[1]))
  }
  assert.deepEqual([...seen].sort((a, b) => a - b), Array.from({ length: written }, (_, i) => i + 1))
  assert.equal(await page.evaluate(() => window.untouched), true, 'the page was loaded anew')

  await api(address, 'POST', `/flow_runs/${run.id}/set_state`, { state: { type: 'COMPLETED' } })
  await page.getByText('Completed', { exact: true }).first().waitFor()
  assert.deepEqual(complaints, [])
})
