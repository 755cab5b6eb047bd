// The log of a run that is longer than what is read at once: its end and its beginning, search with the lines around, the address of a
// line, levels and tasks, downloads, following.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { api, freePorts, launch, open, ready, run as sluice, scratch, start } from './harness.mjs'

test('a long log', async (t) => {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  const [port] = await freePorts(1)
  const address = `http://127.0.0.1:${port}`
  start(t, home, ['server', 'start', '--data-dir', join(dir, 'data'), '--http-addr', `127.0.0.1:${port}`, '--internal-addr', '127.0.0.1:0', '--gossip-addr', '', '--insecure', '--auth', 'off'])
  await ready(address)
  const flow = await api(address, 'POST', '/flows', { name: 'long-haul' })
  const run = await api(address, 'POST', '/flow_runs', { flow_id: flow.id, name: 'steady-otter', state: { type: 'RUNNING' } })
  const task = await api(address, 'POST', '/task_runs', { flow_run_id: run.id, name: 'load-0', task_key: 'load', dynamic_key: '0' })
  let written = 0
  const write = (n) => api(address, 'POST', '/logs', Array.from({ length: n }, () => {
    const k = ++written
    return { flow_run_id: run.id, task_run_id: k % 50 === 0 ? task.id : null, name: 'flow', level: k % 700 === 0 ? 40 : 20, message: k === 1234 ? 'the needle' : `line ${k}.`, timestamp: new Date().toISOString() }
  }))
  for (let i = 0; i < 6; i++) await write(500)

  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, address)
  const log = page.getByRole('log')
  const line = (text) => log.getByText(text, { exact: true })
  await page.goto(`${address}/runs/${run.id}`)

  await t.test('opens at its end, and is read to its beginning', async () => {
    await line('line 3000.').waitFor()
    assert.equal(await log.getAttribute('data-lines'), '500')
    await log.evaluate((e) => { e.scrollTop = 300 })
    await page.waitForFunction(() => Number(document.querySelector('[role=log]').dataset.lines) > 500)
    await page.getByRole('button', { name: 'To the beginning' }).or(page.locator('[role=log][data-whole]')).first().waitFor()
    await page.goto(`${address}/runs/${run.id}`)
    await line('line 3000.').waitFor()
    await page.getByRole('button', { name: 'To the beginning' }).click()
    await line('line 1.').waitFor()
  })

  await t.test('the view stays where it is while earlier lines come in above', async () => {
    await page.goto(`${address}/runs/${run.id}`)
    await line('line 3000.').waitFor()
    const first = await log.evaluate(async (e) => {
      e.scrollTop = 1000
      await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))
      const box = e.getBoundingClientRect()
      return [...e.querySelectorAll('[data-index]')].find((l) => l.getBoundingClientRect().top >= box.top).innerText.match(/line \d+\./)[0]
    })
    await page.waitForFunction(() => Number(document.querySelector('[role=log]').dataset.lines) > 500)
    await page.waitForFunction((text) => {
      const e = document.querySelector('[role=log]')
      const row = [...e.querySelectorAll('[data-index]')].find((l) => l.innerText.includes(text))
      return row && Math.abs(row.getBoundingClientRect().top - e.getBoundingClientRect().top) < 60
    }, first)
  })

  await t.test('what was found shows the lines around it, and its place in the whole log', async () => {
    await page.getByLabel('Search the log').fill('NEEDLE')
    await page.keyboard.press('Enter')
    await page.locator('mark').waitFor()
    assert.equal(await log.locator('[data-index]').count(), 1)
    await page.getByRole('button', { name: 'The lines around' }).click()
    for (const n of [1229, 1233, 1235, 1239]) await line(`line ${n}.`).waitFor()
    assert.equal(await line('line 1228.').count() + await line('line 1240.').count(), 0)
    await page.getByRole('link', { name: 'See it in the whole log' }).click()
    await page.locator('[role=log] [aria-current=location]', { hasText: 'the needle' }).waitFor()
    await line('line 1240.').waitFor()
    assert.doesNotMatch(page.url(), /find=/)
    await page.reload()
    await page.locator('[role=log] [aria-current=location]', { hasText: 'the needle' }).waitFor()
    const other = await log.getByRole('link').last().getAttribute('href')
    await page.goto(other)
    await page.locator('[role=log] [aria-current=location]').waitFor()
  })

  await t.test('levels and tasks select, and what is shown is downloaded', async () => {
    await page.goto(`${address}/runs/${run.id}`)
    await page.getByLabel('Lowest level').selectOption('40')
    await line('line 700.').waitFor()
    assert.equal(await log.locator('[data-index]').count(), 4)
    const saved = async (item) => {
      await page.getByRole('button', { name: 'Download' }).click()
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('menuitem', { name: item }).click()])
      return readFileSync(await file.path(), 'utf8').trim().split('\n')
    }
    const shown = await saved('What is shown, as ndjson')
    assert.deepEqual(shown.map((l) => JSON.parse(l).message), ['line 700.', 'line 1400.', 'line 2100.', 'line 2800.'])
    assert.equal((await saved('All, as text')).length, written)
    await page.getByLabel('Lowest level').selectOption('0')
    await line('line 3000.').waitFor()
    await log.getByRole('button', { name: 'load-0' }).last().click()
    await page.getByText('only load-0').waitFor()
    await page.waitForFunction(() => document.querySelector('[role=log]')?.dataset.lines === '60')
  })

  await t.test('is followed until one scrolls up, and again when one asks', async () => {
    await page.goto(`${address}/runs/${run.id}`)
    await line('line 3000.').waitFor()
    await page.locator('[data-live=live]').waitFor()
    await write(40)
    await line(`line ${written}.`).waitFor()
    await page.getByText('following', { exact: true }).waitFor()
    await log.evaluate((e) => { e.scrollTop = e.scrollHeight - e.clientHeight - 3000 })
    await page.getByText('scrolled up: not following').waitFor()
    const before = await log.evaluate((e) => e.scrollTop)
    const held = Number(await log.getAttribute('data-lines'))
    await write(40)
    await page.waitForFunction((n) => Number(document.querySelector('[role=log]').dataset.lines) >= n, held + 40)
    assert.ok(Math.abs((await log.evaluate((e) => e.scrollTop)) - before) < 200, 'the view jumped')
    assert.equal(await line(`line ${written}.`).count(), 0)
    await page.getByRole('button', { name: 'Follow' }).click()
    await line(`line ${written}.`).waitFor()
    await write(10)
    await line(`line ${written}.`).waitFor()
  })

  await t.test('sluice ui leads to the page of a thing', async () => {
    const deployment = await api(address, 'POST', '/deployments', { name: 'nightly', flow_id: flow.id, flow_data: { encoding: 'sluice/command', blob: '["true"]' } })
    const queue = await api(address, 'POST', '/work_queues', { name: 'main' })
    for (const [what, title] of [[run.id, 'steady-otter'], ['steady-otter', 'steady-otter'], [deployment.id, 'nightly'], ['long-haul/nightly', 'nightly'], [queue.id, 'main'], [flow.id, 'long-haul'], [task.id, 'load-0']]) {
      const url = sluice(home, ['ui', what, '--show-url'], { SLUICE_API_URL: `${address}/api` }).trim()
      await page.goto(url)
      await page.getByRole('heading', { level: 1, name: title, exact: true }).waitFor()
    }
  })
  assert.deepEqual(complaints, [])
})
