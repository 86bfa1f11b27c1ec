import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { sharpest } from './sharpest.ts'

// npm run mutate -- src/X.ts: changes one thing after the other in a file, and says which changes no test
// notices.

const root = fileURLToPath(new URL('../..', import.meta.url))
const stryker = join(root, 'test/mutate/stryker')
const [asked = '', ...rest] = process.argv.slice(2)
// With `:12-40` behind it: those lines alone.
const file = asked.replace(/:[\d:-]+$/, '')
if (rest.length > 0 || !file.endsWith('.ts') || !existsSync(join(root, file))) {
  console.error('npm run mutate -- src/FOLDER/FILE.ts[:FROM-TO]')
  process.exit(2)
}
const { tests: testFiles, isStored } = sharpest[file] ?? { tests: importers(file), isStored: true }
if (testFiles.length === 0) {
  console.error(`No test file imports ${file}: name its tests in test/mutate/sharpest.ts.`)
  process.exit(2)
}

if (!existsSync(join(stryker, 'node_modules/@stryker-mutator')))
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: stryker,
    stdio: 'inherit',
  })

// Everything embedded, and one draw of random worlds: the same change meets the same tests each time.
for (const name of Object.keys(process.env)) if (/_TEST_|^TEST_/.test(name)) delete process.env[name]
process.env['FUZZ_SEED'] ??= '1'
process.env['MUTATE_BY'] = JSON.stringify({ testFiles, isStored })
process.chdir(root)

const found = join(tmpdir(), 'remit-mutate')
mkdirSync(found, { recursive: true })
const report = join(found, file.replaceAll('/', '-').replace(/\.ts$/, ''))
const packages = pathToFileURL(join(stryker, 'node_modules/')).href
const { Stryker } = await import(new URL('@stryker-mutator/core/dist/src/index.js', packages).href)
console.log(`${asked} by:\n  ${testFiles.join('\n  ')}`)
await new Stryker({
  mutate: [asked],
  ignorers: ['texts'],
  plugins: [
    new URL('texts.ts', import.meta.url).href,
    new URL('@stryker-mutator/vitest-runner/dist/src/index.js', packages).href,
  ],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutate/vitest.config.ts', pool: 'threads', related: false },
  coverageAnalysis: 'perTest',
  incremental: true,
  incrementalFile: `${report}.incremental.json`,
  tempDirName: join(found, 'sandboxes'),
  ignorePatterns: [
    '/site',
    '/docs',
    '/python',
    '/benchmarks',
    '/examples',
    '/deploy',
    '/docker',
    '/test/upgrade',
  ],
  concurrency: Number(process.env['MUTATE_WORKERS'] ?? 2),
  timeoutMS: 60_000,
  reporters: ['clear-text', 'json', 'progress-append-only'],
  jsonReporter: { fileName: `${report}.json` },
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  // It reads one by a compiler of an older interface, and Node only takes the types off.
  tsconfigFile: 'none',
  disableTypeChecks: false,
}).runMutationTest()
console.log(`The whole of it: ${report}.json`)

/** The test files that import it by its path. */
function importers(path: string): readonly string[] {
  const name = `${basename(dirname(path))}/${basename(path)}'`
  return globSync('{test,packages/*/test}/**/*.test.ts', { cwd: root }).filter((test) =>
    readFileSync(join(root, test), 'utf8').includes(name),
  )
}
