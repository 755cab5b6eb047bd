// Runs after the build: compresses what is served, keeps nothing else, lists the licences of what is inside, and fails when the
// bundle has grown beyond its budget.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const root = new URL('..', import.meta.url).pathname
const assets = join(root, 'dist/assets')
const kib = 1024
const budget = { initial: 220 * kib, total: 350 * kib }

// What the page loads before it shows anything: what index.html names, and what these import at once.
const page = readFileSync(join(root, 'dist/index.html'), 'utf8')
const initial = new Set([...page.matchAll(/assets\/([\w.-]+\.(?:js|css))/g)].map((m) => m[1]))
for (const name of initial) {
  if (!name.endsWith('.js')) continue
  const code = readFileSync(join(assets, name), 'utf8')
  for (const m of code.matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g)) initial.add(m[1])
}

const made = readdirSync(assets).filter((name) => !/\.(gz|br)$/.test(name))
const sizes = new Map()
for (const name of readdirSync(assets)) if (/\.(gz|br)$/.test(name)) rmSync(join(assets, name))
for (const name of made) {
  const content = readFileSync(join(assets, name))
  const gzip = gzipSync(content, { level: 9 })
  writeFileSync(join(assets, name + '.gz'), gzip)
  writeFileSync(join(assets, name + '.br'), brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }))
  sizes.set(name, gzip.length)
  rmSync(join(assets, name))
}

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
const notices = Object.entries(lock.packages)
  .filter(([path, p]) => path && !p.dev)
  .map(([path, p]) => {
    const folder = join(root, path)
    const file = existsSync(folder) && readdirSync(folder).find((f) => /^licen[cs]e/i.test(f))
    return `${path.replace(/^.*node_modules\//, '')} ${p.version} (${p.license})\n\n${file ? readFileSync(join(folder, file), 'utf8').trim() : ''}\n`
  })
const text = Buffer.from(notices.join('\n' + '-'.repeat(80) + '\n\n'))
writeFileSync(join(assets, 'NOTICES.txt.gz'), gzipSync(text, { level: 9 }))

const sum = (names) => names.reduce((n, name) => n + sizes.get(name), 0)
const measured = { initial: sum([...initial]), total: sum(made) }
console.log(`web interface: ${made.length} files, ${(measured.initial / kib).toFixed(0)} KiB at first (of ${budget.initial / kib}), ${(measured.total / kib).toFixed(0)} KiB in all (of ${budget.total / kib}), gzip`)
if (process.argv.includes('--list')) for (const [name, n] of [...sizes].sort((a, b) => b[1] - a[1])) console.log((n / kib).toFixed(1).padStart(8), name)
for (const kind of ['initial', 'total']) {
  if (measured[kind] > budget[kind]) {
    console.error(`the web interface is too big (${kind}): see npm run build -- --list; load what few pages need with their route, or do without a library`)
    process.exitCode = 1
  }
}
