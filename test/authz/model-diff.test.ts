import { expect, test } from 'vitest'
import { diffLines } from '../../src/authz/model/diff.ts'

const text = (...lines: readonly string[]): string => `${lines.join('\n')}\n`

test('equal texts differ in nothing', () => {
  expect(diffLines(text('a', 'b'), text('a', 'b'))).toBe('')
})

test('what went and what came stands between three lines of what stayed, with its line', () => {
  const before = text('1', '2', '3', '4', '5', '6', '7', '8', '9')
  const after = text('1', '2', '3', '4', 'five', '6', '7', '8', '9', '10')
  expect(diffLines(before, after).split('\n')).toEqual([
    '@@ line 2 @@',
    ' 2',
    ' 3',
    ' 4',
    '-5',
    '+five',
    ' 6',
    ' 7',
    ' 8',
    ' 9',
    '+10',
  ])
})

test('parts that lie apart are shown apart, and a moved line goes and comes', () => {
  const lines = Array.from({ length: 20 }, (_, index) => `${index}`)
  const moved = [...lines.slice(1), '0']
  expect(diffLines(text(...lines), text(...moved)).split('\n')).toEqual([
    '@@ line 1 @@',
    '-0',
    ' 1',
    ' 2',
    ' 3',
    '@@ line 17 @@',
    ' 17',
    ' 18',
    ' 19',
    '+0',
  ])
})

test.each(Array.from({ length: 30 }, (_, seed) => seed))(
  'applied to the text before, it gives the text after (%i)',
  (seed) => {
    let state = seed + 1
    const below = (end: number): number => {
      state = (state * 48_271) % 2_147_483_647
      return state % end
    }
    const before = Array.from({ length: below(12) + 1 }, () => `${below(4)}`)
    const after = Array.from({ length: below(12) + 1 }, () => `${below(4)}`)
    const shown = diffLines(text(...before), text(...after)).split('\n')
    // With so few lines, nothing but the ends is left out: those are the same in both.
    const kept = (sign: string): string[] =>
      shown.filter((line) => line.startsWith(' ') || line.startsWith(sign)).map((line) => line.slice(1))
    expect(before.join(' ')).toContain(kept('-').join(' '))
    expect(after.join(' ')).toContain(kept('+').join(' '))
  },
)
