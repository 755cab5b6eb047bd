import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { listen } from './keys'

const actions = { go: vi.fn(), palette: vi.fn(), help: vi.fn(), search: vi.fn(), letters: () => letters }
let letters = true
let stop: () => void

const press = (key: string, target: EventTarget = document.body, more: KeyboardEventInit = {}) => target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }))

describe('the keyboard', () => {
  beforeEach(() => {
    letters = true
    vi.clearAllMocks()
    document.body.innerHTML = '<main><table><tr data-row="1"><td><a href="#1">1</a></td></tr><tr data-row="2"><td><a href="#2">2</a></td></tr></table><input></main>'
    stop = listen(actions)
  })
  afterEach(() => stop())

  it('goes to pages', () => {
    press('g')
    press('d')
    expect(actions.go).toHaveBeenCalledWith('/deployments')
    press('d')
    expect(actions.go).toHaveBeenCalledTimes(1)
  })
  it('opens the palette even from a field, and letters type there', () => {
    const input = document.querySelector('input')!
    press('k', input, { ctrlKey: true })
    press('?', input)
    press('g', input)
    press('d', input)
    expect(actions.palette).toHaveBeenCalledTimes(1)
    expect(actions.help).not.toHaveBeenCalled()
    expect(actions.go).not.toHaveBeenCalled()
  })
  it('moves through rows and stays on the last', () => {
    const current = () => document.querySelector('[data-current]')?.getAttribute('data-row')
    press('j')
    expect(current()).toBe('1')
    press('j')
    press('j')
    expect(current()).toBe('2')
    press('k')
    expect(current()).toBe('1')
    expect(document.querySelectorAll('[data-current]')).toHaveLength(1)
  })
  it('selects rows while going on, and opens the menu of the row', () => {
    document.body.innerHTML = '<main><table>' + [1, 2, 3].map((n) => `<tr data-row="${n}"><td><input type="checkbox" data-row-check><a href="#${n}">${n}</a><button aria-haspopup="menu">more</button></td></tr>`).join('') + '</table></main>'
    press('j')
    press('J')
    press('J')
    expect([...document.querySelectorAll<HTMLInputElement>('[data-row-check]')].map((c) => c.checked)).toEqual([true, true, true])
    const opened = vi.fn()
    document.querySelectorAll('button')[2]!.addEventListener('keydown', opened)
    press('.')
    expect(opened).toHaveBeenCalledTimes(1)
  })
  it('can be switched off but for the palette', () => {
    letters = false
    press('?')
    press('k', document.body, { metaKey: true })
    expect(actions.help).not.toHaveBeenCalled()
    expect(actions.palette).toHaveBeenCalledTimes(1)
  })
})
