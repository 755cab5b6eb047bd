// Makes src/wire/wire.gen.d.ts, the types of what travels, from the description of the API. Only objects are wanted: the
// types of paths would be most of the file.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import openapi, { astToString } from 'openapi-typescript'

const document = JSON.parse(readFileSync(new URL('../openapi.json', import.meta.url), 'utf8'))
document.paths = {}
const types = astToString(await openapi(document))
mkdirSync(new URL('../src/wire/', import.meta.url), { recursive: true })
writeFileSync(new URL('../src/wire/wire.gen.d.ts', import.meta.url), types)
