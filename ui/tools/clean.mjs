// Takes away the last build; placeholder.html stays.
import { rmSync } from 'node:fs'

for (const name of ['assets', 'index.html']) rmSync(new URL(`../dist/${name}`, import.meta.url), { recursive: true, force: true })
