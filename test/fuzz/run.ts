import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { allowOlderLibraries } from './jazzer/older-libraries.ts'

// npm run fuzz -- TARGET --minutes N: by Jazzer, which sees which branches an input reaches.

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const targets = readdirSync(here('targets')).map((file) => file.replace(/\.ts$/, ''))

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string', default: '0' } },
})
const [target = ''] = positionals
const seconds = Math.ceil(60 * Number(values.minutes))
if (!targets.includes(target) || !(seconds > 0)) {
  console.error(`npm run fuzz -- TARGET --minutes N, with one of these targets:\n  ${targets.join('\n  ')}`)
  process.exit(2)
}

const packages = here('jazzer/node_modules/@jazzer.js')
if (!existsSync(packages)) {
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: here('jazzer'),
    stdio: 'inherit',
  })
  try {
    if (process.platform === 'linux')
      allowOlderLibraries(join(packages, `fuzzer/prebuilds/fuzzer-linux-${process.arch}.node`))
  } catch (error) {
    // The next run tries again.
    rmSync(packages, { recursive: true })
    throw error
  }
}

// What it finds new stays outside of the repository; what is worth keeping is copied to the corpus by hand.
const found = join(tmpdir(), 'remit-fuzz', target)
mkdirSync(found, { recursive: true })
const read = [
  '/src/',
  '/packages/',
  'parse5',
  'micromark',
  'mdast-util',
  'mammoth',
  'syntax-transformer',
  'jose/',
]
const { status } = spawnSync(
  process.execPath,
  [
    ...['--disable-warning=ExperimentalWarning', '--import', here('jazzer/types.ts')],
    join(packages, 'core/dist/cli.js'),
    ...[here(`targets/${target}.ts`), found, here(`corpus/${target}`)],
    ...read.flatMap((name) => ['-i', name]),
    ...['-e', '@jazzer.js', '--disableBugDetectors', 'path-traversal', '--timeout', '300000', '--'],
    ...[`-max_total_time=${seconds}`, `-seed=${values.seed}`, '-max_len=4096', '-print_final_stats=1'],
    `-artifact_prefix=${found}-`,
  ],
  { stdio: 'inherit' },
)
process.exit(status ?? 1)
