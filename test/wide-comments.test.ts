import { expect, test } from 'vitest'
import { wideComments } from '../scripts/wide-comments.ts'

test('a comment that is wider than code is found; a line of code that wide is the formatter’s', () => {
  const wide = 'x'.repeat(110)
  const source = ['const a = 1', `// ${wide}`, '/**', ` * ${wide}`, ' */', `const b = '${wide}'`].join('\n')
  expect(wideComments('a.ts', source).map(({ line }) => line)).toEqual([2, 4])
})
