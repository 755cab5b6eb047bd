// The tutorial's part in the browser: Quick Run, the run's page with its tags and log, and the work queues page.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts, launch, open, ready, run, scratch, start } from './harness.mjs'

const flow = `
import sys
from sluice import flow, task, get_run_logger

@task
def log_message(name):
    logger = get_run_logger()
    logger.info(f"Hello {name}!")
    return

@flow(name="leonardo_dicapriflow")
def leonardo_dicapriflow(name: str):
    log_message(name)
    return

if __name__ == "__main__":
    leonardo_dicapriflow(sys.argv[1])
`

const deployment = `
from sluice.deployments import DeploymentSpec

DeploymentSpec(
    flow_location="./leo_flow.py",
    name="leonardo-deployment",
    parameters={"name": "Leo"},
    tags=["tutorial", "test"],
)
`

test("the tutorial's part in the browser", async (t) => {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  writeFileSync(join(dir, 'leo_flow.py'), flow)
  writeFileSync(join(dir, 'leo_deployment.py'), deployment)
  const [port] = await freePorts(1)
  const address = `http://127.0.0.1:${port}`
  start(t, home, ['server', 'start', '--data-dir', join(dir, 'data'), '--http-addr', `127.0.0.1:${port}`, '--internal-addr', '127.0.0.1:0', '--gossip-addr', '', '--insecure', '--auth', 'off', '--base-path', '/team/sluice'])
  await ready(address)
  const at = { SLUICE_API_URL: `${address}/api`, PWD: dir }
  run(home, ['deployment', 'create', 'leo_deployment.py'], at)

  const browser = await launch()
  t.after(() => browser.close())
  const { page, complaints } = await open(t, browser, address)

  await t.test('deployments are all shown, also below a base path, and one without a queue says so', async () => {
    await page.goto(`${address}/team/sluice/`)
    await page.getByRole('link', { name: 'Deployments', exact: true }).first().click()
    await page.getByRole('link', { name: 'leonardo-deployment' }).waitFor()
    await page.getByText('no queue matches').waitFor()
    assert.equal(new URL(page.url()).pathname, '/team/sluice/deployments')
  })

  await t.test('a work queue is created, and shows the command that starts its agent', async () => {
    await page.keyboard.press('g')
    await page.keyboard.press('q')
    await page.getByRole('button', { name: 'Create a work queue' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Name').fill('tutorial_queue')
    await dialog.getByLabel('Tags').fill('tutorial')
    await dialog.getByText('Serves leonardo-deployment.').waitFor()
    await dialog.getByRole('button', { name: 'Create', exact: true }).click()
    await page.getByRole('group', { name: 'command: sluice agent start tutorial_queue' }).waitFor()
  })

  await t.test('Quick Run makes a run that says why it waits', async () => {
    await page.getByRole('link', { name: 'Deployments', exact: true }).first().click()
    await page.getByRole('button', { name: 'Quick Run of leonardo-deployment' }).click()
    await page.getByRole('status').getByRole('link').click()
    await page.getByRole('region', { name: 'Why this run waits' }).getByText(/agent/i).first().waitFor()
  })

  await t.test('with an agent it completes on the open page, with its tags, details and log', async () => {
    start(t, home, ['agent', 'start', 'tutorial_queue'], at)
    await page.getByRole('log').getByText('Hello Leo!').waitFor()
    await page.getByText('Completed', { exact: true }).first().waitFor()
    for (const tag of ['tutorial', 'test']) await page.getByRole('link', { name: tag, exact: true }).waitFor()
    await page.getByRole('link', { name: /^Task runs/ }).click()
    await page.getByRole('link', { name: /log_message/ }).waitFor()
    await page.getByRole('link', { name: 'Parameters' }).click()
    await page.getByText('"Leo"').waitFor()
    await page.getByRole('link', { name: 'Logs', exact: true }).click()
    await page.getByLabel('Search the log').fill('hello leo')
    await page.keyboard.press('Enter')
    await page.locator('mark', { hasText: 'Hello Leo' }).waitFor()
  })

  await t.test('the run history has it', async () => {
    await page.getByRole('link', { name: 'Runs', exact: true }).first().click()
    await page.getByRole('table', { name: 'Flow runs' }).getByText('leonardo_dicapriflow').first().waitFor()
    await page.getByRole('button', { name: 'Show as a table' }).click()
    await page.getByRole('region', { name: 'Run history as a table' }).getByRole('rowheader').first().waitFor()
    await page.getByRole('combobox', { name: 'Filter flow runs' }).fill('state:failed')
    await page.keyboard.press('Enter')
    await page.getByText('No run matches the filter').waitFor()
    assert.match(page.url(), /q=state/)
    await page.goBack()
    await page.getByRole('table', { name: 'Flow runs' }).waitFor()
  })

  await t.test('a custom run has the parameters of the form in its JSON', async () => {
    await page.goto(`${address}/team/sluice/deployments`)
    await page.getByRole('link', { name: 'leonardo-deployment' }).click()
    await page.getByRole('link', { name: 'Custom run' }).click()
    await page.getByLabel('name', { exact: false }).first().fill('Marvin')
    await page.getByText('Will be picked up by tutorial_queue.').waitFor()
    await page.getByRole('button', { name: 'JSON' }).click()
    assert.match(await page.getByLabel('Parameters as JSON').inputValue(), /"Marvin"/)
    await page.getByRole('button', { name: 'Run', exact: true }).click()
    await page.getByRole('log').getByText('Hello Marvin!').waitFor()
  })

  await t.test('a work queue is paused, edited and deleted', async () => {
    await page.getByRole('link', { name: 'Work queues', exact: true }).first().click()
    await page.getByRole('link', { name: 'tutorial_queue' }).click()
    await page.getByRole('button', { name: 'Pause' }).click()
    await page.getByText('Paused', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Edit' }).click()
    await page.getByRole('dialog').getByLabel('Name').fill('renamed_queue')
    await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click()
    await page.getByRole('heading', { name: 'renamed_queue' }).waitFor()
    await page.getByRole('button', { name: 'Delete' }).click()
    await page.getByRole('button', { name: 'Delete the work queue' }).click()
    await page.getByText('No work queues yet').waitFor()
  })
  assert.deepEqual(complaints, [])
})
