import { describe, expect, it } from 'vitest'
import { check, fields, get, read, secret, set, type Schema } from './schema-form'

const schema: Schema = {
  type: 'object',
  required: ['name', 'deep'],
  properties: {
    name: { type: 'string', title: 'Name', maxLength: 5 },
    count: { anyOf: [{ type: 'integer', minimum: 1 }, { type: 'null' }], default: 1 },
    mode: { $ref: '#/$defs/Mode' },
    when: { type: ['string', 'null'], format: 'date-time' },
    tags: { type: 'array', items: { type: 'string' } },
    deep: { type: 'object', properties: { on: { type: 'boolean' } }, required: ['on'] },
    any: { anyOf: [{ type: 'string' }, { type: 'integer' }] },
    odd: { $ref: '#/$defs/Gone' },
  },
  $defs: { Mode: { enum: ['fast', 'slow'], description: 'How' } },
}

describe('a form of a schema', () => {
  it('has a field of the right kind for each property', () => {
    expect(fields(schema).map((f) => [f.name, f.kind, f.nullable, f.needed])).toEqual([
      ['name', 'text', false, true], ['count', 'integer', true, false], ['mode', 'choice', false, false], ['when', 'date-time', true, false], ['tags', 'list', false, false],
      ['deep', 'object', false, true], ['any', 'json', false, false], ['odd', 'json', false, false],
    ])
    expect(fields(schema)[5]!.fields.map((f) => f.path)).toEqual([['deep', 'on']])
  })
  it('survives schemas that refer to themselves', () => {
    const tree: Schema = { type: 'object', properties: { child: { $ref: '#' }, self: { $ref: '#/$defs/A' } }, $defs: { A: { $ref: '#/$defs/A' } } }
    expect(fields(tree)[0]!.kind).toBe('object')
    expect(fields(tree)[1]!.kind).toBe('json')
  })
  it('changes one place of the value and keeps what it has no field for', () => {
    const value = { name: 'Leo', other: { a: [1] }, deep: { on: true, extra: 1 } }
    const next = set(value, ['deep', 'on'], false)
    expect(next).toEqual({ name: 'Leo', other: { a: [1] }, deep: { on: false, extra: 1 } })
    expect(next.other).toBe(value.other)
    expect(value.deep.on).toBe(true)
    expect(set({ a: 1 }, ['a'], undefined)).toEqual({})
    expect(set(undefined, ['a', 'b'], 1)).toEqual({ a: { b: 1 } })
    expect(get({ a: null }, ['a', 'b'])).toBeUndefined()
  })
  it('reads what was typed', () => {
    const f = (kind: never) => ({ kind, schema: {} })
    expect(read(f('integer' as never), '12')).toEqual({ value: 12 })
    expect(read(f('integer' as never), '12345678901234567890')).toEqual({ value: 12345678901234567890n })
    expect(read(f('integer' as never), '1.5')).toEqual({ problem: 'A whole number.' })
    expect(read(f('number' as never), '')).toEqual({ value: undefined })
    expect(read(f('json' as never), '{"a":1}')).toEqual({ value: { a: 1 } })
    expect(read(f('json' as never), '{')).toHaveProperty('problem')
    expect(read(f('text' as never), '')).toEqual({ value: '' })
  })
  it('says what the schema does not allow, and where', () => {
    const list = fields(schema)
    expect(Object.fromEntries(check(list, { name: 'too long', count: 0, mode: 'other', tags: 'x', deep: {} }))).toEqual({
      name: 'At most 5 characters.', count: 'At least 1.', mode: 'It must be one of fast, slow.', tags: 'It must be a list.', 'deep.on': 'This one is needed.',
    })
    expect(check(list, { name: 'Leo', count: null, when: null, deep: { on: false }, any: 1 }).size).toBe(0)
    expect([...check(list, { name: null }).keys()]).toEqual(['name', 'deep'])
  })
})

describe('secret fields', () => {
  it('are write-only, of the format password, or named', () => {
    const field = (path: string, schema: Schema = {}) => ({ path: path.split('.'), schema })
    expect(secret(field('a', { writeOnly: true }))).toBe(true)
    expect(secret(field('a', { format: 'password' }))).toBe(true)
    const root = { secret_fields: ['key', 'env.*'] }
    expect(['key', 'env.TOKEN', 'env', 'other', 'a.key'].map((p) => secret(field(p), root))).toEqual([true, true, false, false, false])
  })
  it('have names that say so, where the schema does not', () => {
    const names = ['aws_secret_access_key', 'aws_session_token', 'connection_string', 'bucket', 'aws_access_key_id', 'region_name']
    expect(names.filter((n) => secret({ path: [n], schema: {} }))).toEqual(['aws_secret_access_key', 'aws_session_token', 'connection_string'])
  })
})
