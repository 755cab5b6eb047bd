// What the browser tests share: the real binary as processes, a way to its API, and Debian's chromium.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'

export const root = new URL('../..', import.meta.url).pathname
export const binary = process.env.SLUICE_E2E_BINARY ?? join(root, 'bin/sluice')
/** Reaching it is a failure; the machine may be busy. */
export const patience = 60_000

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const places = [process.env.CHROMIUM, '/usr/bin/chromium-headless-shell', '/usr/bin/chromium'].filter(Boolean)

export async function launch() {
  const executablePath = places.find(existsSync)
  if (!executablePath) throw new Error(`no chromium at ${places.join(', ')}: make test-deps installs it`)
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
}

export function scratch(t) {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-ui-'))
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }))
  return dir
}

/** freePorts are ports that were free a moment ago, all different. */
export async function freePorts(n) {
  const servers = await Promise.all(Array.from({ length: n }, () => new Promise((resolve) => { const s = createServer().listen(0, '127.0.0.1', () => resolve(s)) })))
  const ports = servers.map((s) => s.address().port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

function environment(home, more = {}) {
  const env = { ...process.env, SLUICE_HOME: home, PYTHONPATH: join(root, 'python'), PYTHONDONTWRITEBYTECODE: '1', ...more }
  for (const name of Object.keys(env)) if (/^(SLUICE|PREFECT)_/.test(name) && !['SLUICE_HOME', ...Object.keys(more)].includes(name)) delete env[name]
  return env
}

/** start runs the binary until the test ends. */
export function start(t, home, args, more = {}) {
  const p = spawn(binary, args, { env: environment(home, more), stdio: ['ignore', 'pipe', 'pipe'], cwd: more.PWD })
  let output = ''
  p.stdout.on('data', (d) => (output += d))
  p.stderr.on('data', (d) => (output += d))
  const ended = new Promise((resolve) => p.on('exit', resolve))
  t.after(async () => {
    p.kill('SIGKILL')
    await ended
  })
  return { process: p, ended, output: () => output }
}

/** run runs a command to its end. */
export function run(home, args, more = {}, timeout = patience) {
  const r = spawnSync(binary, args, { env: environment(home, more), encoding: 'utf8', cwd: more.PWD, timeout })
  if (r.status !== 0) throw new Error(`sluice ${args.join(' ')}: ${r.status}\n${r.stdout}${r.stderr}`)
  return r.stdout
}

/** until polls for what no event tells of: that a process of its own has come so far. */
export async function until(what, check) {
  const end = Date.now() + patience
  let last
  while (Date.now() < end) {
    try {
      const v = await check()
      if (v) return v
    } catch (e) {
      last = e
    }
    await new Promise((r) => setTimeout(r, 100))
  }
  throw new Error(`waited in vain: ${what}${last ? ` (${last.message})` : ''}`)
}

export const ready = (address) => until(`${address} is ready`, async () => (await fetch(`${address}/readyz`)).ok)

export async function api(address, method, path, body, headers = {}, sent = JSON.stringify(body)) {
  const r = await fetch(`${address}/api${path}`, { method, headers: { 'Content-Type': 'application/json', ...headers }, body: sent })
  const text = await r.text()
  if (!r.ok) throw Object.assign(new Error(`${method} ${path}: ${r.status} ${text}`), { status: r.status })
  return text ? JSON.parse(text) : null
}

/** balancer passes connections on to the first of the ports that takes them, as a load balancer would. */
export async function balancer(t, ports) {
  const open = new Set()
  const server = createServer((client) => {
    client.on('error', () => client.destroy())
    const attempt = (left) => {
      if (left.length === 0) return client.destroy()
      const upstream = connect(left[0], '127.0.0.1')
      let connected = false
      upstream.on('connect', () => {
        connected = true
        client.pipe(upstream).pipe(client)
      })
      upstream.on('error', () => (connected ? client.destroy() : attempt(left.slice(1))))
      upstream.on('close', () => connected && client.destroy())
      client.on('close', () => upstream.destroy())
    }
    open.add(client)
    client.on('close', () => open.delete(client))
    attempt(ports())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const c of open) c.destroy()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** open is a page whose every complaint fails the test, and that may talk to its own server only. */
export async function open(t, browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, timezoneId: 'UTC', ...options })
  t.after(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  const complaints = []
  // A connection that breaks is told on the console too; what comes of it is what tests look at.
  page.on('console', (m) => m.type() === 'error' && !/net::ERR_|Failed to load resource/.test(m.text()) && complaints.push(m.text()))
  page.on('pageerror', (e) => complaints.push(e.message))
  page.on('request', (r) => /^(data|blob):/.test(r.url()) || r.url().startsWith(address) || complaints.push(`a request left the host: ${r.url()}`))
  return { page, complaints }
}

/** violations are what axe finds serious or critical. */
export async function violations(page) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe)
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }))
  return found.violations
    .filter((v) => v.impact === 'serious' || v.impact === 'critical')
    .flatMap((v) => v.nodes.slice(0, 4).map((n) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary?.split('\n').slice(1).join(' ').trim()}`))
}
