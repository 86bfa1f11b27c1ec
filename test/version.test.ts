import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { version } from '../src/kernel/version.ts'
import { changedSince, frozenVersions } from './upgrade/versions.ts'

const root = new URL('../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const manifests = globSync('{package.json,packages/*/package.json}', { cwd: fileURLToPath(root) })

interface Manifest {
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

test('every package, the lock, the chart, the Python client and the API say one version', () => {
  expect(manifests.length).toBeGreaterThan(5)
  const said = Object.fromEntries(manifests.map((path) => [path, JSON.parse(text(path)) as Manifest]))
  const ours = Object.values(said).flatMap(({ dependencies, devDependencies }) =>
    Object.entries({ ...dependencies, ...devDependencies }).filter(([name]) => name.startsWith('@remit/')),
  )
  expect(ours.length).toBeGreaterThan(5)
  const lock = JSON.parse(text('package-lock.json')) as { packages: Readonly<Record<string, Manifest>> }
  const locked = Object.entries(lock.packages).filter(
    ([path]) => path === '' || /^packages\/[^/]+$/.test(path),
  )
  expect(locked.length).toBe(manifests.length)
  const found = {
    ...Object.fromEntries(Object.entries(said).map(([path, manifest]) => [path, manifest.version])),
    ...Object.fromEntries(ours),
    ...Object.fromEntries(locked.map(([path, one]) => [`lock ${path}`, one.version])),
    chart: /^version: (.*)$/m.exec(text('deploy/helm/remit/Chart.yaml'))?.[1],
    'what the chart runs': /^appVersion: (.*)$/m.exec(text('deploy/helm/remit/Chart.yaml'))?.[1],
    python: /^version = "(.*)"$/m.exec(text('python/pyproject.toml'))?.[1],
    openapi: (JSON.parse(text('docs/openapi.json')) as { info: Manifest }).info.version,
  }
  expect(Object.entries(found).filter(([, one]) => one !== version)).toEqual([])
})

test('pages name the files of this version', () => {
  const pages = globSync('{docs,python,packages/*}/*.md', { cwd: fileURLToPath(root) })
  const named = pages.flatMap((path) =>
    [...text(path).matchAll(/remit[-_](?:client|connector)-(\d+\.\d+\.\d+)/g)].map(([, one]) => [path, one]),
  )
  expect(named.length).toBeGreaterThan(3)
  expect(named.filter(([, one]) => one !== version)).toEqual([])
})

test('`remit --version` prints it', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['src/cli/main.ts', '--version'], {
    cwd: root,
  })
  expect(stdout).toBe(`${version}\n`)
})

test('CHANGELOG.md has a section for it below Unreleased, and one for every version in order', () => {
  const sections = [...text('CHANGELOG.md').matchAll(/^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$/gm)]
  const [first, ...released] = sections
  expect(first?.[1]).toBe('Unreleased')
  expect(released[0]?.[1]).toBe(version)
  expect(released.filter(([, , day]) => day === undefined)).toEqual([])
  const days = released.map(([, , day = '']) => day)
  expect(days).toEqual([...days].sort().reverse())
})

test('what differs from a released version does not call itself by its number', () => {
  const shipped = [
    'src/**',
    'migrations/*',
    'model.fga',
    'packages/*/src/**',
    'python/src/**',
    'package-lock.json',
  ]
  const others = frozenVersions.filter((released) => changedSince(released, ...shipped).length > 0)
  expect(others).not.toContain(version)
})
