// A cluster of three nodes with an agent and much in it, and the addresses of all pages: what pages are tested and pictured with.
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { api, freePorts, patience, ready, run, scratch, start, until } from './harness.mjs'

const flows = new URL('./flows', import.meta.url).pathname

async function receiver(t) {
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => response.writeHead(request.url === '/broken' ? 500 : 204).end())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}`
}

/** demo starts it all and answers where it is once everything has happened. */
export async function demo(t, { runs = 1500, days = 2 } = {}) {
  const dir = scratch(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  run(home, ['bench', 'seed', '--data-dir', join(dir, 'data0'), '--runs', String(runs), '--days', String(days)], {}, 5 * patience)
  const keys = join(dir, 'secrets.key')
  writeFileSync(keys, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
  const ports = await freePorts(9)
  const nodes = [0, 1, 2].map((i) =>
    start(t, home, [
      'server', 'start', '--data-dir', join(dir, `data${i}`), '--node-name', `node-${i + 1}`, '--http-addr', `127.0.0.1:${ports[i]}`, '--internal-addr', `127.0.0.1:${ports[3 + i]}`, '--gossip-addr', `127.0.0.1:${ports[6 + i]}`,
      ...(i === 0 ? ['--bootstrap-expect', '1'] : ['--join', `127.0.0.1:${ports[3]}`]), '--insecure', '--auth', 'off', '--webhook-allow-private', '--secrets-key-file', keys,
    ]),
  )
  const address = `http://127.0.0.1:${ports[0]}`
  const at = { SLUICE_API_URL: `${address}/api` }
  try {
    await Promise.all(ports.slice(0, 3).map((port) => ready(`http://127.0.0.1:${port}`)))
  } catch (error) {
    throw new Error(`${error.message}\n${nodes.map((n) => n.output().slice(-2000)).join('\n')}`)
  }
  await until('all three nodes vote', async () => (await api(address, 'GET', '/cluster/health')).voters === 3)
  run(home, ['deployment', 'create', join(flows, 'shop_deployment.py')], at)
  run(home, ['work-queue', 'create', '--tag', 'shop', 'shop'], at)
  const hook = await receiver(t)
  run(home, ['webhook', 'create', '--state-type', 'FAILED', 'on-call', `${hook}/page`], at)
  run(home, ['webhook', 'create', '--state-type', 'COMPLETED', '--tag', 'shop', 'warehouse-sync', `${hook}/broken`], at)
  start(t, home, ['agent', 'start', 'shop'], at)
  run(home, ['concurrency-limit', 'create', 'database', '4'], at)
  run(home, ['storage', 'create', '--type', 'file', '--name', 'shared', '--set', `base_path=${join(dir, 'files')}`, '--default'], at)
  run(home, ['deployment', 'run', 'daily-sales/nightly', '--watch'], at)
  const failing = api(address, 'POST', `/deployments/${(await api(address, 'GET', '/deployments/name/audit-stock/by-hand')).id}/create_flow_run`, { name: 'wary-otter', state: { type: 'SCHEDULED' } })
  await api(address, 'POST', '/jobs', { action: 'retry', filter: { flow_runs: { state: { type: { any_: ['CANCELLED'] } }, tags: { all_: ['prod'] } } } })
  for (const [name, value] of [['Failed in production', 'state:failed tag:prod newer:24h'], ['Late', 'state:late']]) {
    await api(address, 'PUT', '/saved_searches', { name, filters: [{ object: 'flow_run', property: 'query', type: 'text', operation: 'matches', value }] })
  }
  const one = async (path, body) => (await api(address, 'POST', path, { limit: 1, ...body }))[0]
  const shop = await api(address, 'GET', '/deployments/name/daily-sales/nightly')
  const scheduled = await one('/deployments/filter', { deployments: { is_schedule_active: { eq_: true } }, flow_runs: { state: { type: { any_: ['SCHEDULED'] } } } })
  const queue = (await api(address, 'GET', '/work_queues/name/shop')).id
  const sales = await one('/flow_runs/filter', { deployments: { id: { any_: [shop.id] } }, flow_runs: { state: { type: { any_: ['COMPLETED'] } } } })
  const busy = await one('/flow_runs/filter', { flow_runs: { state: { type: { any_: ['FAILED'] } } }, task_runs: { state: { type: { any_: ['COMPLETED'] } } }, sort: 'EXPECTED_START_TIME_DESC' })
  const waiting = await api(address, 'POST', `/deployments/${scheduled.id}/create_flow_run`, { name: 'patient-heron', tags: ['gpu'], state: { type: 'SCHEDULED', state_details: { scheduled_time: new Date(Date.now() + 3_600_000).toISOString() } } })
  // Two runs that hold slots: one of the queue, one of the limit.
  const holder = await api(address, 'POST', '/flow_runs', { flow_id: shop.flow_id, name: 'diligent-badger', tags: ['shop'] })
  await api(address, 'POST', `/flow_runs/${holder.id}/set_state`, { state: { type: 'RUNNING' } })
  const held = await api(address, 'POST', '/task_runs', { flow_run_id: holder.id, task_key: 'load_into_warehouse', dynamic_key: '0', name: 'load_into_warehouse-0', tags: ['database'] })
  await api(address, 'POST', `/task_runs/${held.id}/set_state`, { state: { type: 'RUNNING' } })
  const failed = await failing
  await until('the run that fails has failed', async () => (await api(address, 'GET', `/flow_runs/${failed.id}`)).state_type === 'FAILED')
  const task = await one('/task_runs/filter', { flow_runs: { id: { any_: [sales.id] } }, task_runs: { name: { any_: ['extract_orders-1', 'extract_orders'] } } }) ?? (await one('/task_runs/filter', { flow_runs: { id: { any_: [sales.id] } } }))
  const hooks = await api(address, 'GET', '/webhooks')
  const pages = {
    dashboard: '/', runs: '/runs', 'runs-failed': '/runs?q=state%3Afailed%20newer%3A24h', run: `/runs/${sales.id}`, 'run-failed': `/runs/${failed.id}`, 'run-waiting': `/runs/${waiting.id}`, 'run-tasks': `/runs/${busy.id}?tab=tasks`, timeline: `/runs/${sales.id}?tab=timeline`,
    graph: `/runs/${sales.id}?tab=graph`, states: `/runs/${busy.id}?tab=states`, details: `/runs/${sales.id}?tab=details`, 'task-run': `/runs/${sales.id}/tasks/${task.id}`,
    flows: '/flows', flow: `/flows/${shop.flow_id}`, deployments: '/deployments', deployment: `/deployments/${shop.id}`, schedules: `/deployments/${shop.id}?tab=schedules`, parameters: `/deployments/${shop.id}?tab=parameters`, configuration: `/deployments/${shop.id}?tab=configuration`, 'custom-run': `/deployments/${shop.id}/run`,
    queues: '/queues', 'queue-new': '/queues?new=true', queue: `/queues/${queue}`, agents: '/agents', limits: '/limits', storage: '/storage', 'storage-new': '/storage?new=true', artifacts: `/runs/${sales.id}?tab=artifacts`, 'artifacts-all': '/artifacts', notifications: '/webhooks', 'notification-new': '/webhooks?new=true', notification: `/webhooks/${hooks.find((w) => w.name === 'warehouse-sync').id}`, cluster: '/cluster', jobs: '/jobs', tokens: '/access', audit: '/access?tab=audit',
    settings: '/settings', gallery: '/gallery', 'sign-in': '/sign-in', lost: '/nowhere',
  }
  return { address, pages, at, home, ids: { shop: shop.id, sales: sales.id, busy: busy.id, waiting: waiting.id, holder: holder.id, held: held.id, queue, failed: failed.id } }
}
