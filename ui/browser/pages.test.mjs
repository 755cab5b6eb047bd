// Every page, in light and dark, wide and narrow: nothing that axe calls serious, nothing wider than the screen, no complaint, no
// request to another host. With SLUICE_SCREENSHOTS=1 it makes the pictures of docs/ui.md.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { api, freePorts, launch, open, ready, root, run, scratch, start, until, violations } from './harness.mjs'

const pictures = process.env.SLUICE_SCREENSHOTS ? join(root, 'docs/ui') : null

test('every page', async (t) => {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  run(home, ['bench', 'seed', '--data-dir', join(dir, 'data'), '--runs', pictures ? '20000' : '1500', '--days', pictures ? '7' : '2'])
  const [port] = await freePorts(1)
  const address = `http://127.0.0.1:${port}`
  start(t, home, ['dev', '--data-dir', join(dir, 'data'), '--http-addr', `127.0.0.1:${port}`])
  await ready(address)
  const at = { SLUICE_API_URL: `${address}/api` }
  await until('the sample deployment is there', async () => (await api(address, 'POST', '/deployments/filter', { deployments: { name: { any_: ['sample'] } } })).length === 1)
  run(home, ['deployment', 'run', 'hello/sample', '--watch'], at)
  run(home, ['concurrency-limit', 'create', 'database', '4'], at)
  run(home, ['storage', 'create', '--type', 'file', '--name', 'shared', '--set', 'base_path=/mnt/flows', '--default'], at)
  await api(address, 'POST', '/jobs', { action: 'retry', filter: { flow_runs: { state: { type: { any_: ['CANCELLED'] } }, tags: { all_: ['prod'] } } } })
  const one = async (path, body) => (await api(address, 'POST', path, { limit: 1, ...body }))[0]
  const sample = await one('/deployments/filter', { deployments: { name: { any_: ['sample'] } } })
  const scheduled = await one('/deployments/filter', { deployments: { is_schedule_active: { eq_: true } }, flow_runs: { state: { type: { any_: ['SCHEDULED'] } } } })
  const queue = await one('/work_queues/filter')
  const hello = await one('/flow_runs/filter', { deployments: { name: { any_: ['sample'] } } })
  const busy = await one('/flow_runs/filter', { flow_runs: { state: { type: { any_: ['FAILED'] } } }, task_runs: { state: { type: { any_: ['COMPLETED'] } } }, sort: 'EXPECTED_START_TIME_DESC' })
  const waiting = await api(address, 'POST', `/deployments/${scheduled.id}/create_flow_run`, { name: 'patient-heron', tags: ['gpu'], state: { type: 'SCHEDULED', state_details: { scheduled_time: new Date(Date.now() + 3_600_000).toISOString() } } })
  const task = await one('/task_runs/filter', { flow_runs: { id: { any_: [busy.id] } } })
  const pages = {
    dashboard: '/', runs: '/runs', 'runs-failed': '/runs?q=state%3Afailed%20newer%3A24h', run: `/runs/${hello.id}`, 'run-waiting': `/runs/${waiting.id}`, 'run-tasks': `/runs/${busy.id}?tab=tasks`, timeline: `/runs/${busy.id}?tab=timeline`,
    graph: `/runs/${busy.id}?tab=graph`, states: `/runs/${busy.id}?tab=states`, details: `/runs/${busy.id}?tab=details`, 'task-run': `/runs/${busy.id}/tasks/${task.id}`,
    flows: '/flows', flow: `/flows/${sample.flow_id}`, deployments: '/deployments', deployment: `/deployments/${scheduled.id}`, schedules: `/deployments/${scheduled.id}?tab=schedules`, 'custom-run': `/deployments/${sample.id}/run`,
    queues: '/queues', 'queue-new': '/queues?new=true', queue: `/queues/${queue.id}`, agents: '/agents', limits: '/limits', storage: '/storage', 'storage-new': '/storage?new=true', cluster: '/cluster', jobs: '/jobs', tokens: '/access', audit: '/access?tab=audit',
    settings: '/settings', gallery: '/gallery', 'sign-in': '/sign-in', lost: '/nowhere',
  }
  if (pictures) mkdirSync(pictures, { recursive: true })
  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, address, { colorScheme: 'light' })
  const calm = async () => {
    await page.locator('.skeleton:not([data-sample] *)').first().waitFor({ state: 'detached' })
    await page.waitForLoadState('load')
  }
  for (const [name, path] of Object.entries(pages)) {
    await t.test(name, async () => {
      await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
      await page.goto(address + path)
      await page.locator('h1').first().waitFor()
      await page.locator('main').first().waitFor()
      await calm()
      if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`) })
      assert.deepEqual(await violations(page), [], 'light')
      await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' })
      if (pictures && ['dashboard', 'run', 'deployments'].includes(name)) await page.screenshot({ path: join(pictures, `${name}-dark.png`) })
      assert.deepEqual(await violations(page), [], 'dark')
      assert.deepEqual(complaints.splice(0), [])
    })
  }

  await t.test('no page is wider than a phone', async () => {
    await page.setViewportSize({ width: 360, height: 740 })
    const wide = []
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(address + path)
      await page.locator('h1').first().waitFor()
      await calm()
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
      if (over > 0) wide.push(`${name} by ${over} px`)
      if (pictures && ['dashboard', 'run'].includes(name)) await page.screenshot({ path: join(pictures, `${name}-narrow.png`) })
    }
    assert.deepEqual(wide, [])
  })

  await t.test('the keyboard suffices', async () => {
    await page.setViewportSize({ width: 1280, height: 800 })
    await page.goto(address)
    await page.locator('h1').waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('d')
    await page.getByRole('heading', { name: 'Deployments' }).waitFor()
    await page.getByRole('table', { name: 'Deployments' }).waitFor()
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    assert.equal(await page.locator('[data-row][data-current]').count(), 1)
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Quick Run', exact: true }).first().waitFor()
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox').fill('cluster')
    if (pictures) await page.screenshot({ path: join(pictures, 'palette.png') })
    assert.deepEqual(await violations(page), [], 'the palette')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Cluster', exact: true }).waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    assert.deepEqual(await violations(page), [], 'the list of keys')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
  })

  await t.test('many runs are changed at once, by a job', async () => {
    await page.goto(`${address}/runs?q=state%3Afailed`)
    await page.getByRole('checkbox', { name: 'Select all rows' }).check()
    const all = page.getByRole('button', { name: /^Select all/ })
    if (await all.count()) await all.click()
    await page.getByRole('region', { name: 'Selected runs' }).getByRole('button', { name: 'Retry' }).click()
    await page.getByText(/match now/).waitFor()
    await page.getByRole('button', { name: 'Retry the runs' }).click()
    await page.getByRole('link', { name: 'See how far it is' }).click()
    await page.getByRole('progressbar').first().waitFor()
  })
  assert.deepEqual(complaints, [])
})
