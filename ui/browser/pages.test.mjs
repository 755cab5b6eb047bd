// Every page, in light and dark, wide and narrow: nothing that axe calls serious, nothing wider than the screen, no complaint, no
// request to another host. With SLUICE_SCREENSHOTS=1 it makes the pictures of docs/ui.md.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { demo } from './demo.mjs'
import { api, launch, open, root, until, violations } from './harness.mjs'

const pictures = process.env.SLUICE_SCREENSHOTS ? join(root, 'docs/ui') : null
// Pages that docs/ui.md has no picture of.
const untold = new Set(['configuration', 'parameters', 'lost'])

test('every page', async (t) => {
  const { address, pages, ids } = await demo(t, pictures ? { runs: 5000, days: 7 } : {})
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
      if (pictures && !untold.has(name)) await page.screenshot({ path: join(pictures, `${name}.png`) })
      assert.deepEqual(await violations(page), [], 'light')
      await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' })
      if (pictures && ['dashboard', 'run'].includes(name)) await page.screenshot({ path: join(pictures, `${name}-dark.png`) })
      assert.deepEqual(await violations(page), [], 'dark')
      assert.deepEqual(complaints.splice(0), [])
    })
  }

  await t.test('no page is wider than its screen, from a phone to 4k', async () => {
    await page.setViewportSize({ width: 360, height: 740 })
    const wide = []
    for (const [name, path] of Object.entries(pages)) {
      await page.setViewportSize({ width: 360, height: 740 })
      await page.goto(address + path)
      await page.locator('h1').first().waitFor()
      await calm()
      const measure = async (width) => {
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        if (over > 0) wide.push(`${name} by ${over} px at ${width} px`)
      }
      await measure(360)
      if (pictures && ['dashboard', 'run'].includes(name)) await page.screenshot({ path: join(pictures, `${name}-narrow.png`) })
      for (const width of [640, 1024, 1920, 3840]) {
        await page.setViewportSize({ width, height: Math.round(width * 0.5625) })
        await measure(width)
      }
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

  await t.test('the cluster page tells who led, and what the snapshot of each node holds', async () => {
    const [told, health] = await Promise.all([api(address, 'GET', '/cluster'), api(address, 'GET', '/cluster/health')])
    await page.goto(address + pages.cluster)
    const leaders = page.getByRole('table', { name: 'Leaders so far' })
    const newest = told.members.find((m) => m.id === told.leader).name
    await leaders.getByRole('row').nth(1).getByText(newest).waitFor()
    assert.equal(await leaders.getByRole('row').count(), told.leaders.length + 1)
    const snapshots = page.getByRole('table', { name: 'Snapshots' })
    for (const m of health.members) {
      assert.ok(m.snapshot.bytes > 0 && m.snapshot.index > 0, JSON.stringify(m.snapshot))
      await snapshots.getByRole('row').filter({ hasText: m.name }).getByText(/[KM]iB$/).first().waitFor()
    }
  })

  await t.test('a run shows its artifacts', async () => {
    await page.goto(`${address}${pages.artifacts}`)
    const table = page.getByRole('region', { name: 'Artifact orders-by-region' })
    await table.getByRole('cell', { name: 'north' }).waitFor()
    await table.getByRole('button', { name: 'region' }).click()
    await table.getByRole('columnheader', { name: 'region' }).and(page.locator('[aria-sort=ascending]')).waitFor()
    await page.getByRole('heading', { name: 'Sales of 2026-03-01' }).waitFor()
    assert.equal(await page.getByRole('link', { name: 'Sales in the warehouse' }).getAttribute('href'), 'https://warehouse.example.com/sales?day=2026-03-01')
  })

  await t.test('a run that waits says why, with its time and its command told apart', async () => {
    await page.goto(`${address}${pages['run-waiting']}`)
    const why = page.getByRole('region', { name: 'Why this run waits' })
    await why.locator('time').first().waitFor()
    const text = await why.innerText()
    assert.doesNotMatch(text, /`|T\d\d:\d\d:\d\d/)
    assert.match(text, /in \d+ min/)
  })

  await t.test('a saved search is renamed and opens the runs by default', async () => {
    await page.goto(`${address}/runs?q=state%3Alate`)
    await page.getByRole('button', { name: 'Saved' }).click()
    await page.getByRole('menuitem', { name: /^Rename, delete/ }).click()
    const dialog = page.getByRole('dialog', { name: 'Saved searches' })
    await dialog.getByRole('button', { name: 'Rename Failed in production' }).click()
    await dialog.getByRole('textbox').fill('Broken in production')
    await page.keyboard.press('Enter')
    await dialog.getByRole('button', { name: 'Open runs with Broken in production' }).click()
    assert.deepEqual(await violations(page), [])
    await page.goto(`${address}/runs`)
    await page.waitForURL(/q=state/)
    assert.equal(await page.getByRole('combobox', { name: 'Filter flow runs' }).inputValue(), 'state:failed tag:prod newer:24h')
    await page.getByRole('button', { name: 'Clear the filter' }).click()
    await page.waitForURL((u) => !u.search.includes('q='))
    await page.evaluate(() => localStorage.clear())
  })

  await t.test('an agent is drained and called back', async () => {
    await page.goto(`${address}/agents`)
    await page.getByRole('button', { name: /^More for/ }).click()
    await page.getByRole('menuitem', { name: 'Drain' }).click()
    await page.getByText('Drained', { exact: true }).waitFor()
    await page.getByRole('checkbox', { name: 'Select all rows' }).check()
    await page.getByRole('region', { name: 'Selected agents' }).getByRole('button', { name: 'Call back' }).click()
    await page.getByRole('table', { name: 'Agents' }).getByText('Live', { exact: true }).waitFor()
  })

  await t.test('deployments are paused, resumed and run together', async () => {
    await page.goto(`${address}/deployments?q=shop`)
    await page.getByRole('checkbox', { name: 'Select all rows' }).check()
    const bar = page.getByRole('region', { name: 'Selected deployments' })
    await bar.getByRole('button', { name: 'Pause' }).click()
    await page.getByRole('switch', { name: 'Schedule of nightly', checked: false }).waitFor()
    await page.getByRole('checkbox', { name: 'Select all rows' }).check()
    await bar.getByRole('button', { name: 'Resume' }).click()
    await page.getByRole('switch', { name: 'Schedule of nightly', checked: true }).waitFor()
    await page.getByRole('checkbox', { name: 'Select all rows' }).check()
    await bar.getByRole('button', { name: 'Run' }).click()
    await page.getByRole('button', { name: 'Run them now' }).click()
    await page.getByText('Created a run of each of 2 deployments.').waitFor()
  })

  await t.test('a webhook is tested, and its log says what came of it', async () => {
    await page.goto(`${address}/webhooks`)
    await page.getByRole('link', { name: 'on-call' }).click()
    await page.getByRole('button', { name: 'Send a test message' }).click()
    await page.getByRole('table', { name: 'Messages' }).getByRole('row').filter({ hasText: 'a test' }).getByText('Delivered').waitFor()
  })

  await t.test('a slot that is held is released', async () => {
    await page.goto(`${address}/limits`)
    await page.getByRole('button', { name: 'Release the slot of load_into_warehouse-0' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Set the state' }).click()
    await page.getByText('0 of 4').waitFor()
  })

  await t.test('a run is repeated with its own values, big integers and all', async () => {
    const made = await api(address, 'POST', `/deployments/${ids.shop}/create_flow_run`, undefined, {}, '{"parameters":{"day":"2026-03-02","full":true,"after_order":12345678901234567890},"tags":["rush"],"state":{"type":"SCHEDULED","state_details":{"scheduled_time":"2099-01-01T00:00:00Z"}}}')
    await page.goto(`${address}/runs/${made.id}`)
    await page.getByRole('button', { name: 'More' }).click()
    await page.getByRole('menuitem', { name: 'Run again with changes…' }).click()
    await page.getByRole('button', { name: 'JSON' }).click()
    const text = await page.getByLabel('Parameters as JSON').inputValue()
    assert.match(text, /"day": "2026-03-02"/)
    assert.match(text, /12345678901234567890/)
    assert.equal(await page.getByLabel('More tags').inputValue(), 'rush')
    await page.getByText(/sluice api POST.*12345678901234567890/).waitFor()
  })

  await t.test('times are shown in the zone of the schedule when that is wanted', async () => {
    await page.goto(`${address}/settings`)
    await page.getByLabel('Times').selectOption('schedule')
    await page.goto(`${address}${pages.run}`)
    await page.getByText(/(CET|CEST|GMT\+[12])$/).first().waitFor()
    await page.goto(`${address}/settings`)
    await page.getByLabel('Times').selectOption('utc')
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

    await page.goto(`${address}/runs?q=state%3Acompleted%20tag%3Ashop`)
    await page.getByRole('checkbox', { name: 'Select the row' }).first().check()
    await page.getByRole('region', { name: 'Selected runs' }).getByRole('button', { name: 'Set state' }).click()
    await page.getByRole('dialog').getByLabel('State', { exact: true }).selectOption({ label: 'Failed' })
    await page.getByLabel('Message').fill('the figures were wrong')
    await page.getByRole('checkbox', { name: /against the rules/ }).check()
    await page.getByText('1 match now.').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Set the state' }).click()
    await page.getByRole('link', { name: 'See how far it is' }).click()
    await page.getByText('Set the state of 1 run').waitFor()
    await page.getByText('1 done, 0 refused').waitFor()
  })
  assert.deepEqual(complaints, [])
})
