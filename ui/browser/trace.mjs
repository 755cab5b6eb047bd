// What the interface costs with much stored: first paint, long tasks of the page's thread, requests, for each page and what one does on it.
// `make ui-trace`. It measures; the figures are in docs/performance.md.
//
//   SLUICE_TRACE_DATA=dir   a data directory to use (it is changed: one large flow run is added); else one is made
//   SLUICE_TRACE_RUNS=n     how many runs that one gets (1,000,000)
//   SLUICE_TRACE_TASKS=n    task runs of the large run (10,000), SLUICE_TRACE_LINES=n its log lines (1,000,000)
//   SLUICE_TRACE_ONLY=text  only what has this in its name
//   SLUICE_TRACE_OUT=dir    keeps the traces, for chrome://tracing
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { api, freePorts, launch, open, ready, run, start } from './harness.mjs'

const number = (name, otherwise) => Number(process.env[`SLUICE_TRACE_${name}`] ?? otherwise)
const [runs, tasks, lines] = [number('RUNS', 1_000_000), number('TASKS', 10_000), number('LINES', 1_000_000)]
const only = process.env.SLUICE_TRACE_ONLY ?? ''
const out = process.env.SLUICE_TRACE_OUT
const goals = { paint: 300, task: 200 }

const scratch = mkdtempSync(join(tmpdir(), 'sluice-trace-'))
const after = []
const t = { after: (f) => after.unshift(f) }
const large = 'large-whale'

async function each(n, width, f) {
  let next = 0
  await Promise.all(Array.from({ length: width }, async () => { while (next < n) await f(next++) }))
}

/** largeRun is the run with many task runs and lines; it stays under way. */
async function largeRun(address) {
  const had = await api(address, 'POST', '/flow_runs/filter', { flow_runs: { name: { any_: [large] } }, limit: 1 })
  if (had.length > 0) return had[0].id
  const flow = await api(address, 'POST', '/flows', { name: 'long-haul' })
  const { id } = await api(address, 'POST', '/flow_runs', { flow_id: flow.id, name: large, tags: ['trace'] })
  await api(address, 'POST', `/flow_runs/${id}/set_state`, { state: { type: 'RUNNING' } })
  const made = []
  await each(tasks, 16, async (i) => {
    const from = made[i - 16]
    const body = { flow_run_id: id, name: `step-${String(i).padStart(5, '0')}`, task_key: `step-${i % 40}`, dynamic_key: String(i), state: { type: 'RUNNING' }, task_inputs: from ? { x: [{ input_type: 'task_run', id: from }] } : {} }
    made[i] = (await api(address, 'POST', '/task_runs', body)).id
    await api(address, 'POST', `/task_runs/${made[i]}/set_state`, { state: { type: i % 97 === 5 ? 'FAILED' : 'COMPLETED' }, force: true })
  })
  const batch = 500
  await each(Math.ceil(lines / batch), 4, async (k) => {
    await api(address, 'POST', '/logs', Array.from({ length: batch }, (_, i) => lineOf(id, made, k * batch + i)))
  })
  console.error(`made a run with ${tasks} task runs and ${lines} lines`)
  return id
}

const lineOf = (id, made, n) => ({
  flow_run_id: id, task_run_id: made.length ? made[n % made.length] : null, name: 'flow', level: n % 1000 === 7 ? 40 : n % 100 === 3 ? 30 : 20, timestamp: new Date().toISOString(),
  message: n % 250_000 === 99_999 ? `needle ${n}` : `chunk ${n} read from part-${n % 97}.parquet: ${(n * 7919) % 10007} rows`,
})

/** traced does something on a page while Chromium traces, and says what it cost. */
async function traced(browser, name, page, act) {
  const cdp = await browser.newBrowserCDPSession()
  const events = []
  cdp.on('Tracing.dataCollected', (e) => events.push(...e.value))
  await cdp.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline', ...(out ? ['v8', 'disabled-by-default-v8.cpu_profiler'] : [])] } })
  const asked = []
  const onRequest = (r) => {
    if (!r.url().includes('/api/') || r.url().includes('/api/events')) return
    const timing = r.timing()
    asked.push({ url: new URL(r.url()).pathname + ' ' + (r.postData() ?? '').slice(0, 120), ms: timing.responseStart - timing.requestStart })
  }
  page.on('requestfinished', onRequest)
  const begin = performance.now()
  await act()
  const took = performance.now() - begin
  page.off('requestfinished', onRequest)
  const complete = new Promise((r) => cdp.once('Tracing.tracingComplete', r))
  await cdp.send('Tracing.end')
  await complete
  await cdp.detach()
  if (out) writeFileSync(join(out, `${name.replace(/\W+/g, '-')}.json`), JSON.stringify({ traceEvents: events }))
  const threads = new Set(events.filter((e) => e.name === 'thread_name' && e.args?.name === 'CrRendererMain').map((e) => `${e.pid}/${e.tid}`))
  const work = events.filter((e) => e.ph === 'X' && /RunTask$/.test(e.name) && threads.has(`${e.pid}/${e.tid}`))
  const most = (field) => work.reduce((m, e) => Math.max(m, (e[field] ?? 0) / 1000), 0)
  const slowest = asked.reduce((m, a) => (a.ms > m.ms ? a : m), { ms: 0, url: '' })
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null)
  return { name, took, paint, wall: most('dur'), cpu: most('tdur'), over50: work.filter((e) => e.tdur > 50_000).length, requests: asked.length, slowest }
}

async function main() {
  let data = process.env.SLUICE_TRACE_DATA
  if (!data) {
    data = join(scratch, 'data')
    run(scratch, ['bench', 'seed', '--data-dir', data, '--runs', String(runs)], {}, 3_600_000)
  }
  const [port] = await freePorts(1)
  const address = `http://127.0.0.1:${port}`
  const server = start(t, scratch, ['server', 'start', '--data-dir', data, '--http-addr', `127.0.0.1:${port}`, '--internal-addr', '127.0.0.1:0', '--gossip-addr', '', '--insecure', '--auth', 'off', '--log-quota', String(1 << 30)], { SLUICE_LOGGING_LEVEL: 'WARNING' })
  await ready(address).catch((e) => { throw new Error(`${e.message}\n${server.output()}`) })
  const id = await largeRun(address)
  const total = await api(address, 'POST', '/flow_runs/count', {})
  const someTask = (await api(address, 'POST', '/task_runs/filter', { flow_runs: { id: { any_: [id] } }, limit: 1 }))[0]

  const browser = await launch()
  t.after(() => browser.close())
  if (out) mkdirSync(out, { recursive: true })
  const rows = []
  const bench = async (name, act, path = null) => {
    if (!name.includes(only)) return
    const { page, complaints } = await open(t, browser, address)
    if (path !== null) {
      await page.goto(address + path)
      await calm(page)
    }
    const row = await traced(browser, name, page, () => act(page))
    if (path !== null) row.paint = null
    rows.push(row)
    if (complaints.length > 0) throw new Error(`${name}: ${complaints.join('; ')}`)
    console.error(`${name}: ${Math.round(row.took)} ms, ${row.paint === null ? '' : `first paint ${Math.round(row.paint)} ms, `}longest task ${Math.round(row.cpu)} ms of processor time (${Math.round(row.wall)} ms), ${row.over50} over 50 ms, ${row.requests} requests, slowest ${Math.round(row.slowest.ms)} ms ${row.slowest.url}`)
    await page.context().close()
  }
  /** calm waits until no placeholder is left. */
  const calm = async (page) => {
    await page.locator('h1').first().waitFor()
    await page.waitForFunction(() => !document.querySelector('main .skeleton'))
    await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))))
  }
  const load = (path) => async (page) => { await page.goto(address + path); await calm(page) }
  const scroll = (selector, steps = 40) => (page) => page.evaluate(async ([s, n]) => {
    const e = s ? document.querySelector(s) : document.scrollingElement
    for (let i = 0; i <= n; i++) {
      e.scrollTop = ((e.scrollHeight - e.clientHeight) * i) / n
      await new Promise((r) => requestAnimationFrame(() => setTimeout(r, 30)))
    }
  }, [selector, steps])
  const lived = async (page, seconds) => {
    // Runs begin and end while the page is open.
    const end = performance.now() + seconds * 1000
    const flow = await api(address, 'POST', '/flows', { name: 'long-haul' })
    while (performance.now() < end) {
      const r = await api(address, 'POST', '/flow_runs', { flow_id: flow.id, state: { type: 'RUNNING' } })
      await api(address, 'POST', `/flow_runs/${r.id}/set_state`, { state: { type: 'COMPLETED' } })
    }
  }
  // The first page a browser ever opens pays for its own start.
  { const { page } = await open(t, browser, address); await load('/settings')(page); await page.context().close() }

  for (let i = 1; i <= 3; i++) await bench(`dashboard, first visit (${i})`, load('/'))
  await bench('dashboard, visited before', async (page) => { await page.reload(); await calm(page) }, '/')
  await bench('dashboard over 30 days', load('/?range=30d'))
  await bench('dashboard while runs begin and end', (page) => lived(page, 6), '/')
  await bench('runs', load('/runs'))
  await bench('runs, scrolled', scroll(null), '/runs')
  await bench('runs, page 10,000', load('/runs?page=10000'))
  await bench('runs that failed with a tag', load('/runs?q=state%3Afailed%20tag%3Aprod'))
  await bench('runs of 7 days', load('/runs?q=newer%3A7d'))
  await bench('runs, upcoming', load('/runs?tab=upcoming'))
  await bench('runs while they begin and end', (page) => lived(page, 6), '/runs')
  await bench('flows', load('/flows'))
  await bench('deployments', load('/deployments'))
  await bench('deployments, scrolled', scroll(null), '/deployments')
  await bench('work queues', load('/queues'))
  await bench('agents', load('/agents'))
  await bench('jobs', load('/jobs'))
  await bench('audit', load('/access?tab=audit'))
  const followed = (page) => page.locator('[role=log] [data-index]').first().waitFor()
  await bench('large run: log', async (page) => { await load(`/runs/${id}`)(page); await followed(page) })
  await bench('large run: log, scrolled', async (page) => { await followed(page); await scroll('[role=log]')(page) }, `/runs/${id}`)
  await bench('large run: log, searched', async (page) => {
    await page.getByLabel('Search the log').fill('needle')
    await page.keyboard.press('Enter')
    await page.locator('mark').first().waitFor()
  }, `/runs/${id}`)
  await bench('large run: log, followed', async (page) => {
    const end = performance.now() + 6000
    for (let k = 0; performance.now() < end; k++) {
      await api(address, 'POST', '/logs', Array.from({ length: 200 }, (_, i) => lineOf(id, [], lines + k * 200 + i)))
      await new Promise((r) => setTimeout(r, 100))
    }
  }, `/runs/${id}`)
  await bench('large run: log of errors', load(`/runs/${id}?level=40`))
  await bench('large run: task runs', load(`/runs/${id}?tab=tasks`))
  await bench('large run: task runs, scrolled', scroll('[aria-label="Task runs"]'), `/runs/${id}?tab=tasks`)
  await bench('large run: task runs, searched', async (page) => {
    await page.getByLabel('Find task runs').pressSequentially('step-0999')
    await page.getByText('step-09999').first().waitFor()
  }, `/runs/${id}?tab=tasks`)
  await bench('large run: task runs while they end', async (page) => {
    for (let i = 0; i < 100; i++) {
      const made = await api(address, 'POST', '/task_runs', { flow_run_id: id, name: `late-${i}`, task_key: 'late', dynamic_key: `${Date.now()}-${i}`, state: { type: 'RUNNING' } })
      await api(address, 'POST', `/task_runs/${made.id}/set_state`, { state: { type: 'COMPLETED' } })
      await new Promise((r) => setTimeout(r, 50))
    }
  }, `/runs/${id}?tab=tasks`)
  await bench('large run: timeline', load(`/runs/${id}?tab=timeline`))
  await bench('large run: timeline, scrolled', scroll('[aria-label="Timeline of task runs"]'), `/runs/${id}?tab=timeline`)
  await bench('large run: graph', async (page) => {
    await load(`/runs/${id}?tab=graph`)(page)
    const draw = page.getByRole('button', { name: /draw/i })
    if (await draw.count()) {
      await draw.first().click()
      await page.locator('[aria-label="Task graph"] a').first().waitFor()
    }
  })
  if (someTask) await bench('large run: a task run', load(`/runs/${id}/tasks/${someTask.id}`))

  console.log(`| with ${total.toLocaleString('en')} runs stored | until all is shown | first paint | longest task: processor time (by the clock) | requests, slowest answer |`)
  console.log('|---|---|---|---|---|')
  for (const r of rows) console.log(`| ${r.name} | ${Math.round(r.took)} ms | ${r.paint === null ? '' : `${Math.round(r.paint)} ms`} | ${Math.round(r.cpu)} ms (${Math.round(r.wall)}) | ${r.requests}, ${Math.round(r.slowest.ms)} ms |`)
  const missed = rows.filter((r) => r.cpu > goals.task || (r.paint ?? 0) > goals.paint)
  for (const r of missed) console.log(`missed: ${r.name}: ${r.cpu > goals.task ? `a task of ${Math.round(r.cpu)} ms (${goals.task})` : `first paint after ${Math.round(r.paint)} ms (${goals.paint})`}`)
  return missed.length === 0 ? 0 : 1
}

let code = 2
try {
  code = await main()
} catch (e) {
  console.error(e)
} finally {
  for (const f of after) await f()
  rmSync(scratch, { recursive: true, force: true })
}
process.exit(code)
