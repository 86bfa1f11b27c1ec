import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { findingPlaces, measure } from '../scripts/measure.ts'

test('the code’s measures count what they name, in a checkout where each is known', () => {
  const root = checkout({
    'src/one.ts': `
      import { two } from './two.ts'
      // A line that is no code.
      /** Documented. */
      export function one(told: string) { /* code, with a comment */
        return two + told
      }`,
    'src/two.ts': `
      import type { one } from './one.ts'
      export const two: number = 2
      export type One = typeof one`,
    'src/delegation/low/seal.ts': `import '../high.ts'\nexport const sealed = 1`,
    'src/delegation/high.ts': `import './low/seal.ts'`,
    'src/state.ts': `
      function createState() {
        let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6]
        let g = 7
        let unseen = 8
        const own = { g: () => { let g = 1; return g } }
        return { sum: () => a + b + c + d + e + f + g + own.g(), unseen }
      }`,
    'src/long.ts': `const long = () => {\n${'\n'.repeat(320)}}`,
    'packages/some/src/index.ts': 'export const here = 1',
    'packages/some/test/index.test.ts': 'const notCounted = 1',
    'test/one.test.ts': 'const notCounted = 1',
    'benchmarks/one.ts': 'const notCounted = 1',
    'scripts/one.ts': 'const counted = 1',
  })
  expect(Object.fromEntries(measure(root))).toEqual({
    'lines of code, outside tests and benchmarks': 4 + 3 + 2 + 1 + 7 + 2 + 1 + 1,
    'files of src and packages': 7,
    'files over 300 lines': 1,
    functions: 4,
    'lines of a function: median, p90, most': '7, 322, 322',
    'functions over 50 lines': 1,
    'vague names': expect.stringMatching(/^\d/),
    'bare participles': expect.stringMatching(/^\d/),
    'closures over six captured variables': 1,
    'circles of imports, types included': '2 (2, 2)',
    'circles of imports at run time': 1,
    'arrows back up inside src/delegation': 1,
    'files with one importer': 4,
    'exports documented': '20.0 %',
  })
  expect(findingPlaces(root)).toContain('src/state.ts: createState captures 7 variables')
})

function checkout(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'remit-measure-'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), `${text.replace(/^\n/, '')}\n`)
  }
  const git = (...args: string[]) => execFileSync('git', ['-C', root, ...args])
  git('init', '-q')
  git('add', '.')
  return root
}
