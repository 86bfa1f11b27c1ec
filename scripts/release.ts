import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Component, type Lock, licenceList, shippedOf } from './licences.ts'

/**
 * Makes all that a version gives away, in `release`: the packages for npm and Python, a bill of materials,
 * the licences, and the digests of all of them. The same commit gives the same digests, on the same Node, npm
 * and hatchling.
 */

interface Bill {
  serialNumber?: string
  readonly metadata: { timestamp: string; readonly component: { name: string } }
  components: readonly Component[]
  dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const release = join(root, 'release')

const git = (...args: readonly string[]): string =>
  execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()

if (git('status', '--porcelain') !== '') throw new Error('What is not committed is in no release: commit it.')
const seconds = git('log', '-1', '--format=%ct')
const env = { ...process.env, SOURCE_DATE_EPOCH: seconds, npm_config_loglevel: 'error' }

/** What it says. Its messages go where ours do. */
const run = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { cwd: root, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

rmSync(release, { recursive: true, force: true })
mkdirSync(release)
run('npm', 'run', 'build')
run('npm', 'pack', './dist', '--pack-destination', release)
for (const name of ['client', 'connector', 'engine', 'prove'])
  run('npm', 'pack', '--workspace', `@remit/${name}`, '--pack-destination', release)
execFileSync('python3', ['-m', 'hatchling', 'build', '-d', release], {
  cwd: join(root, 'python'),
  env,
  stdio: 'inherit',
})

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock
const shipped = shippedOf(lock, readFileSync(join(root, 'dist/LICENSES-OF-OTHERS.txt'), 'utf8'))
writeFileSync(join(release, 'licences.txt'), licenceList(lock, shipped))
writeFileSync(join(release, 'sbom.cdx.json'), `${JSON.stringify(bill(), null, 2)}\n`)
const sums = readdirSync(release)
  .sort()
  .map((name) => `${digest(readFileSync(join(release, name)))}  ${name}\n`)
writeFileSync(join(release, 'SHA256SUMS'), sums.join(''))
process.stdout.write(sums.join(''))

/**
 * npm's, of the lock. What only we need is taken out here: told to omit it, npm omits what we and the service
 * need as well.
 */
function bill(): Bill {
  const made = JSON.parse(
    run('npm', 'sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'),
  ) as Bill
  const isShipped = (ref: string): boolean => shipped.has(ref) || /^(@remit\/|remit@)/.test(ref)
  // npm calls what is ours by its folder.
  made.components = made.components
    .filter((one) => isShipped(one['bom-ref']))
    .map((one) => ({ ...one, name: one['bom-ref'].replace(/@[^@]*$/, '') }))
  made.dependencies = made.dependencies
    .filter(({ ref }) => isShipped(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(isShipped) }))
  // By the commit: npm says when it ran, and draws a number.
  made.metadata.timestamp = new Date(Number(seconds) * 1000).toISOString()
  made.metadata.component.name = 'remit'
  delete made.serialNumber
  return made
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
