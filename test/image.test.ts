import { execFileSync } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { asRun } from '../benchmarks/checks/server.ts'
import { loadConfig, settings } from '../src/config/config.ts'
import { composeFile, inContainer } from './e2e/production/compose-file.ts'

const root = new URL('../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')

/** What each stage of the image's build copies from the workspace, or from a stage. */
const stages = text('Dockerfile')
  .split(/^FROM /m)
  .slice(1)
  .map((stage) =>
    [...stage.matchAll(/^COPY (?:--from=\S+ )?(.*) \S+$/gm)].flatMap(([, from = '']) => from.split(' ')),
  )

const isWithin = (path: string, folders: readonly string[]): boolean =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`))

describe('the image', () => {
  test('holds the package and what it needs, and no sources', () => {
    expect(stages.at(-1)).toEqual(['/app/node_modules', '/app/dist'])
    expect(text('Dockerfile')).toContain('CMD ["node", "src/main.js"]')
  })

  test('builds the package from all that its build reads', () => {
    const named = [...text('scripts/build.ts').matchAll(/^copy\((.*)\)$/gm)].flatMap(([, paths = '']) =>
      [...paths.matchAll(/'([^']+)'/g)].map(([, path = '']) => path),
    )
    const read = [...named.filter((path) => path !== 'packages/console/dist'), 'tsconfig.build.json']
    expect(read).toEqual(expect.arrayContaining(['docs/errors', 'migrations/[0-9]*.sql', 'model.fga']))
    const inStage = (path: string) =>
      stages[0]?.some((one) => path === one || path.startsWith(`${one}/`)) ?? false
    expect(read.filter((path) => !inStage(path.replace(/\/\*\*.*/, '')))).toEqual([])
  })

  test('is built from nothing that .dockerignore keeps away', () => {
    const allowed = [...text('.dockerignore').matchAll(/^!(.*)$/gm)].map(([, path = '']) => path)
    const wanted = [...text('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, from = '']) =>
      from.split(' '),
    )
    expect(wanted).toContain('src')
    expect(wanted.filter((path) => !isWithin(path, allowed))).toEqual([])
  })
})

describe('docker-compose.yml', () => {
  const { remit, postgres, openfga } = composeFile().services
  test('runs OpenFGA as the benchmarks do, but for its caches and its limit of memory', () => {
    const ours = Object.entries(openfga.environment ?? {}).filter(
      ([name]) => !/_CACHE_|^GOMEMLIMIT$|_PLAYGROUND_/.test(name),
    )
    expect(Object.fromEntries(ours.map(([name, value]) => [name, String(value)]))).toEqual(asRun)
  })

  test('has a Postgres with connections for OpenFGA and three processes at their most', () => {
    // At most, by docs/high-availability.md.
    const ofProcess = 38
    const [, ofPostgres] = /max_connections=(\d+)/.exec([postgres.command].flat().join(' ')) ?? []
    const ofOpenfga = Number(openfga.environment?.['OPENFGA_DATASTORE_MAX_OPEN_CONNS'])
    expect(ofOpenfga).toBe(100)
    // Three are kept for superusers.
    expect(Number(ofPostgres) - 3).toBeGreaterThanOrEqual(ofOpenfga + 3 * ofProcess)
  })

  test('gives what runs the ten seconds to hear of a stop, and more', () => {
    expect(remit.stop_grace_period).toBe('30s')
  })

  test('passes every setting of .env on, but where the container itself is meant', () => {
    const own = [
      'HOST',
      'PORT',
      'OPS_HOST',
      'OPS_PORT',
      'OPS_BEARER_FILE',
      'REMIT_HOME',
      'EMBEDDINGS_CACHE',
      'OPENFGA_API_URL',
    ]
    const dotenv = Object.fromEntries(
      Object.keys(settings.shape).map((name) => [name, `the ${name} of .env`]),
    )
    const lost = Object.entries(dotenv).filter(([name, value]) => inContainer(dotenv)[name] !== value)
    expect(lost.map(([name]) => name).sort()).toEqual(own.sort())
  })

  test('makes a service of an address alone, and of providers whose secrets stand in .env or in files', () => {
    const read = (path: string) => `secret of ${path}`
    const dotenv = { PUBLIC_URL: 'https://remit.example' }
    const database = (path: string) => (path.endsWith('database_url') ? 'postgres://db/remit\n' : read(path))
    expect(loadConfig(inContainer(dotenv), database)).toMatchObject({
      publicUrl: 'https://remit.example',
      databaseUrl: 'postgres://db/remit',
      openfga: { apiToken: 'secret of /run/secrets/openfga_token' },
      trustedIssuers: [],
      demo: false,
    })
    const provider = { provider: 'github', client_id: 'c', client_secret_env: 'GITHUB_SECRET' }
    const vault = { ...dotenv, VAULT_PROVIDERS: JSON.stringify([provider]) }
    for (const [given, secret] of [
      [{ GITHUB_SECRET: 's' }, 's'],
      [{ GITHUB_SECRET_FILE: '/run/secrets/github' }, 'secret of /run/secrets/github'],
    ] as const)
      expect([...loadConfig(inContainer({ ...vault, ...given }), database).vaultSecrets]).toEqual([
        ['GITHUB_SECRET', secret],
      ])
  })

  test('has its secrets made once, all that it names, and takes over those of an older version', () => {
    const folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
    try {
      const script = text('docker/secrets.sh').replaceAll('/secrets/', `${folder}/`)
      const held = () =>
        Object.fromEntries(
          globSync('*/*', { cwd: folder }).map((path) => [path, readFileSync(join(folder, path), 'utf8')]),
        )
      for (const one of ['postgres', 'openfga', 'remit']) mkdirSync(join(folder, one))
      const run = () => execFileSync('sh', ['-c', script], { encoding: 'utf8' })
      expect(run()).toBe('The secrets are made.\n')
      const made = held()
      const named = Object.entries(remit.environment ?? {}).filter(([name]) => name.endsWith('_FILE'))
      expect(named.length).toBe(3)
      for (const [, path] of named)
        expect(made[String(path).replace('/run/secrets/', 'remit/')]?.length).toBeGreaterThan(31)
      expect(made['openfga/config.yaml']).toContain(`keys: [${made['remit/openfga_token']}]`)
      expect(made['remit/database_url']).toContain(made['postgres/remit'])
      expect(run()).toBe('The secrets exist already.\n')
      expect(held()).toEqual(made)

      for (const path of Object.keys(made).filter((one) => one.startsWith('remit/')))
        rmSync(join(folder, path))
      writeFileSync(
        join(folder, 'remit/env'),
        "export DATABASE_URL='postgres://old'\nexport OPENFGA_API_TOKEN='older'\n",
      )
      run()
      expect(held()).toMatchObject({
        ...Object.fromEntries(Object.entries(made).filter(([path]) => !path.startsWith('remit/'))),
        'remit/database_url': 'postgres://old',
        'remit/openfga_token': 'older',
      })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
