import { describe, expect, it } from 'vitest'
import { blocks, inline } from './markdown'

const kinds = (text: string) => blocks(text).map((b) => b.kind)

describe('Markdown', () => {
  it('has headings, paragraphs, lists, tables, quotes and code', () => {
    expect(kinds('# A\n\ntext\nmore\n\n- one\n- two\n\n1. a\n2. b\n\n| x | y |\n|---|--:|\n| 1 | 2 |\n\n> said\n\n```py\nx = 1\n```\n\n---')).toEqual([
      'heading', 'paragraph', 'list', 'list', 'table', 'quote', 'code', 'rule',
    ])
  })
  it('aligns the columns of a table, and fills rows that are short', () => {
    const [t] = blocks('| x | y |\n|:---|--:|\n| `a` \\| b |')
    expect(t).toMatchObject({ kind: 'table', align: ['left', 'right'], rows: [[[{ kind: 'code', text: 'a' }, { kind: 'text', text: ' | b' }], []]] })
  })
  it('has lists within lists', () => {
    const [list] = blocks('- a\n  - b\n  - c\n- d')
    expect(list).toMatchObject({ kind: 'list', ordered: false, items: [[{ kind: 'paragraph' }, { kind: 'list', items: [{}, {}] }], [{ kind: 'paragraph' }]] })
  })
  it('has emphasis, code and links, and leaves snake_case alone', () => {
    expect(inline('**bold** *it* `co*de` snake_case_name [here](https://a.b/c)')).toEqual([
      { kind: 'strong', of: [{ kind: 'text', text: 'bold' }] }, { kind: 'text', text: ' ' }, { kind: 'em', of: [{ kind: 'text', text: 'it' }] }, { kind: 'text', text: ' ' },
      { kind: 'code', text: 'co*de' }, { kind: 'text', text: ' snake_case_name ' }, { kind: 'link', href: 'https://a.b/c', of: [{ kind: 'text', text: 'here' }] },
    ])
  })
  it('makes no link of what is none: scripts stay text', () => {
    expect(JSON.stringify(inline('[x](javascript:alert(1)) ![i](data:text/html,x) <script>'))).not.toContain('"link"')
  })
  it('ends on anything', () => {
    const pieces = ['*', '_', '`', '[', '](', ')', '- ', '> ', '|', '---', '\n', '  ', '# ', 'a', '```', '~~', '1. ']
    let seed = 7
    const next = () => (seed = (seed * 1103515245 + 12345) % 2147483648)
    for (let n = 0; n < 400; n++) {
      const text = Array.from({ length: 60 }, () => pieces[next() % pieces.length]).join('')
      expect(Array.isArray(blocks(text))).toBe(true)
    }
  })
})
