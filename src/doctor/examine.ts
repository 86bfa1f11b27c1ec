import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../config/config.ts'
import { isHttpsOrLoopback, isLoopback } from '../config/forms.ts'
import { reasonOf } from '../kernel/reason.ts'
import { addressOf } from '../store/pg.ts'
import type { Database } from '../store/sql.ts'
import { type Facts, isRestoreUnderWay, readClock, readFacts, readMigrations } from './facts.ts'
import { type Finding, ok, problem, warning } from './finding.ts'
import { ofDatabase } from './of-database.ts'
import { ofKeys } from './of-keys.ts'
import { ofService } from './of-service.ts'

/** What is looked at, and how to get there. Nothing of it is changed. */
export interface ExamineDeps {
  /** Those of the service; a list of what is wrong where they cannot be used. */
  readonly settings: Config | readonly string[]
  /** Opens the native database to be read only. */
  readonly openReading: (url: string) => Database
  /** What the running service reads of its embedded database; undefined where none runs. */
  readonly askRunning: (home: string) => Promise<Facts | undefined>
  readonly fetch: (url: string, init?: RequestInit) => Promise<Response>
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** The folder of migrations of this version. */
  readonly migrations: URL
  /** Of this version. */
  readonly version: string
}

type Examined = Omit<ExamineDeps, 'settings'> & { readonly config: Config }

const timeoutMs = 5_000
const skewMsMax = 2_000
const skewMsProblem = 30_000

/**
 * Looks at every part and says what it found, the part that is down included. No finding holds a secret of
 * the settings.
 */
export async function examine({ settings, ...rest }: ExamineDeps): Promise<readonly Finding[]> {
  if (isProblems(settings))
    return settings.map((says) =>
      problem(
        'settings',
        `${says}.`,
        'Correct it in the environment or in .env; .env.example explains each.',
      ),
    )
  const deps: Examined = { ...rest, config: settings }
  const { config } = deps
  // It would be the demo, and that makes its folder at its start: nothing of it is there to be looked at.
  if (config.demo && !existsSync(config.home)) return [noHome(config.home)]
  const [service, database, openfga, engine] = await Promise.all([
    guarded('service', () => lookAtService(deps)),
    guarded('database', () => lookAtDatabase(deps)),
    guarded('OpenFGA', () => lookAtOpenFga(deps)),
    guarded('search engine', () => lookAtEngine(deps)),
  ])
  const facts = database.find((one): one is Looked => 'facts' in one)?.facts
  const found: readonly Finding[] = [
    ok('settings', `The settings can be used by version ${deps.version}.`),
    ...(await guarded('exposure', async () => exposure(config, facts))),
    ...service,
    ...database.flatMap((one) => ('facts' in one ? one.findings : [one])),
    ...openfga,
    ...engine,
    ...(await guarded('keys', async () =>
      // It gets no key and no database.
      config.roles.nominator
        ? []
        : ofKeys(join(config.home, 'keys'), {
            now: deps.now(),
            needsVaultKey:
              config.vaultKeys.length === 0 && (facts === undefined ? undefined : facts.accounts > 0),
          }),
    )),
  ]
  const hide = hiding(await secretsOf(config))
  return found.map((one) => ({
    ...one,
    says: hide(one.says),
    ...(one.remedy !== undefined && { remedy: hide(one.remedy) }),
  }))
}

/** To begin anew is advice for the default alone: elsewhere a disk with the data may not be mounted. */
const noHome = (home: string): Finding =>
  home === resolve('.remit')
    ? problem(
        'settings',
        `There is no service here: no folder ${home}, and neither the environment nor a .env says where else one keeps its data.`,
        'Run it in the folder of the service, with its environment. To begin one: npm start.',
      )
    : problem(
        'settings',
        `REMIT_HOME names ${home}, and there is no such folder.`,
        'See that its disk is mounted and the name is right. Start nothing before: the service would begin an empty demo there.',
      )

const isProblems = (settings: ExamineDeps['settings']): settings is readonly string[] =>
  Array.isArray(settings)

/** A look that dies is a finding, too. */
async function guarded<T>(
  part: string,
  look: () => Promise<readonly T[]>,
): Promise<readonly (T | Finding)[]> {
  try {
    return await look()
  } catch (error) {
    return [problem(part, `It could not be looked at: ${causeOf(error)}.`, 'Bring it back, and look again.')]
  }
}

/** `fetch` and a pool say why only in what lies below. */
function causeOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(causeOf).join('; ')
  if (error instanceof Error && error.message === 'fetch failed' && error.cause !== undefined)
    return causeOf(error.cause)
  return reasonOf(error)
}

/**
 * What goes in the clear to another machine, by the settings alone: whoever hears it has what it carries.
 * Nothing of a name tells that its host is on this machine: one of a single label is a Service of Kubernetes,
 * too.
 */
function* inTheClear({ openfga, databaseUrl, clearTextHosts }: Config): Generator<Finding> {
  const mayHear = (host: string) => !clearTextHosts.includes(host.toLowerCase())
  if (
    openfga !== undefined &&
    !isHttpsOrLoopback(openfga.apiUrl) &&
    mayHear(new URL(openfga.apiUrl).hostname)
  )
    yield warning(
      'exposure',
      'OPENFGA_API_URL is http, and not on this machine: whoever hears one request has the key that writes permissions.',
      'Name an https address. Where nobody else can hear it (containers of one machine, a mesh), name its host in CLEAR_TEXT_HOSTS.',
    )
  if (databaseUrl === undefined) return
  const { host, isVerified } = addressOf(databaseUrl)
  // A path is that of a socket.
  if (!isVerified && !host.startsWith('/') && !isLoopback(host) && mayHear(host))
    yield warning(
      'exposure',
      'DATABASE_URL is without TLS that looks at the certificate, and not on this machine: whoever is between has the password, documents and what opens sessions.',
      'Add sslmode=verify-full. Where nobody else can hear it (containers of one machine, a mesh), name its host in CLEAR_TEXT_HOSTS.',
    )
}

function exposure(config: Config, facts: Facts | undefined): readonly Finding[] {
  const { publicUrl, demo } = config
  const found: Finding[] = [...inTheClear(config)]
  if (!publicUrl.startsWith('https:'))
    found.push(
      warning(
        'exposure',
        'PUBLIC_URL is http: good for trying on this machine, and for nothing else.',
        'End TLS at a proxy and name its https address in PUBLIC_URL.',
      ),
    )
  if (demo)
    found.push(
      warning(
        'exposure',
        'The demo is on: whoever has a shell on this machine can be anybody.',
        'Set REMIT_DEMO=false before real documents come in.',
      ),
    )
  else if (facts === undefined)
    found.push(
      warning(
        'exposure',
        'Whether the demo company is in the database was not looked at.',
        'Bring the database back, and look again.',
      ),
    )
  else if (facts.sample)
    found.push(
      problem(
        'exposure',
        'The people, agents and documents of the demo company are in this database.',
        'Begin with a new database: those accounts have passwords that others could know.',
      ),
    )
  return found.length > 0
    ? found
    : [ok('exposure', 'Of what was looked at, nothing is open that should be closed.')]
}

async function lookAtService({ config, fetch, version }: Examined): Promise<readonly Finding[]> {
  const { ops, openfga } = config
  const host = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[ops.host] ?? ops.host
  const url = `http://${host}:${ops.port}/readyz`
  const bearer = ops.bearerFile && (await readFile(ops.bearerFile, 'utf8')).trim()
  const response = await fetch(url, {
    signal: AbortSignal.timeout(timeoutMs),
    headers: { ...(bearer && { authorization: `Bearer ${bearer}` }) },
  }).catch(() => undefined)
  if (response === undefined)
    return [
      problem(
        'service',
        `No process answers at the operators’ port ${ops.port} of ${host}.`,
        'Start it; if it ends again, its last line says why.',
      ),
    ]
  if (response.status === 401 || response.status === 421)
    return [
      problem(
        'service',
        `What answers at ${url} does not take this token.`,
        'The process read another OPS_BEARER_FILE at its start: restart it.',
      ),
    ]
  return ofService(await response.json().catch(() => undefined), {
    judgesLag: openfga?.maybeSecondary !== true,
    version,
  })
}

interface Looked {
  readonly facts: Facts
  readonly findings: readonly Finding[]
}

async function lookAtDatabase(deps: Examined): Promise<readonly (Finding | Looked)[]> {
  const { config, openReading, askRunning, now } = deps
  if (config.roles.nominator) return []
  if (config.databaseUrl === undefined) {
    const facts = await askRunning(config.home)
    if (facts !== undefined) return [{ facts, findings: ofDatabase(facts, now()) }]
    return [
      warning(
        'database',
        'The embedded database belongs to its service, which does not run: nobody looked at it.',
        'Start the service, and look again.',
      ),
    ]
  }
  await using database = openReading(config.databaseUrl)
  const clock = await skewOf('Postgres', now, () => readClock(database))
  const tables = await ofMigrations(deps, database)
  if (tables.status !== 'ok') return [clock, tables]
  const facts = await readFacts(database)
  return [{ facts, findings: [clock, tables, ...processes(facts), ...ofDatabase(facts, now())] }]
}

async function ofMigrations({ migrations, version }: Examined, database: Database): Promise<Finding> {
  const files = (await readdir(migrations)).filter((name) => /^\d{4}_.*\.sql$/.test(name))
  const stored = await readMigrations(database)
  if (await isRestoreUnderWay(database))
    return problem(
      'recovery',
      'A restore of this database was begun and has not ended.',
      'Run `remit restore` with the same archive again: docs/recovery.md.',
    )
  const unknown = stored.filter((name) => !files.includes(name))
  const missing = files.filter((name) => !stored.includes(name))
  if (unknown.length > 0)
    return problem(
      'schema',
      `The tables belong to a newer version: ${unknown.at(-1)} is not in ${version}.`,
      'Start that version again; going back needs the backup from before the upgrade.',
    )
  if (missing.length > 0)
    return problem(
      'schema',
      `${missing.length} migrations of version ${version} did not run, the first ${missing.sort()[0]}.`,
      'Start the service: it runs them. If one fails, it says why.',
    )
  return ok('schema', `The tables are those of version ${version}.`)
}

const processes = ({ processes: count }: Facts): readonly Finding[] => [
  count > 0
    ? ok('processes', `${count} processes are connected to the database.`)
    : problem('processes', 'No process of the service is connected to the database.', 'Start one.'),
]

async function skewOf(part: string, now: () => number, read: () => Promise<number>): Promise<Finding> {
  const before = now()
  const there = await read()
  const skew = Math.abs(there - (before + now()) / 2)
  const says = `The clock of ${part} and of this machine differ by ${(skew / 1_000).toFixed(1)} seconds`
  const remedy = 'Let both follow one time server (NTP): tokens and delegations end by the clock.'
  if (!(skew <= skewMsProblem)) return problem('clock', `${says}.`, remedy)
  if (skew > skewMsMax) return warning('clock', `${says}.`, remedy)
  return ok('clock', `${says}.`)
}

async function lookAtOpenFga({ config, fetch, now }: Examined): Promise<readonly Finding[]> {
  const { openfga } = config
  if (openfga === undefined) return [ok('OpenFGA', 'The embedded engine answers in its place.')]
  const { apiUrl, apiToken } = openfga
  const ask = (headers: Record<string, string>) =>
    fetch(`${apiUrl}/stores?page_size=1`, {
      headers,
      signal: AbortSignal.timeout(timeoutMs),
      redirect: 'error',
    })
  let date = ''
  const known = await ask({ ...(apiToken !== undefined && { authorization: `Bearer ${apiToken}` }) })
  date = known.headers.get('date') ?? ''
  const stranger = apiToken === undefined ? known : await ask({})
  return [
    known.ok
      ? ok('OpenFGA', 'OpenFGA answers and takes our key.')
      : problem(
          'OpenFGA',
          `OpenFGA answers ${known.status} to our key.`,
          'Set OPENFGA_API_TOKEN to a preshared key of the server.',
        ),
    stranger.ok
      ? problem(
          'OpenFGA key',
          'OpenFGA answers without a key: whoever reaches it can give themselves everything.',
          'Start it with OPENFGA_AUTHN_METHOD=preshared, and name the key in OPENFGA_API_TOKEN.',
        )
      : [401, 403].includes(stranger.status)
        ? ok('OpenFGA key', 'OpenFGA refuses whoever has no key.')
        : warning(
            'OpenFGA key',
            `OpenFGA answers ${stranger.status} to whoever has no key, which is no refusal.`,
            'Look whether it demands a key (OPENFGA_AUTHN_METHOD), and look again.',
          ),
    // A date in HTTP has whole seconds: half of one is what it lacks on average.
    ...(date === '' ? [] : [await skewOf('OpenFGA', now, async () => Date.parse(date) + 500)]),
  ]
}

async function lookAtEngine({ config, fetch }: Examined): Promise<readonly Finding[]> {
  const { searchEngine } = config
  if (searchEngine === undefined) return []
  const looked = await Promise.all(
    searchEngine.urls.map(async (url) => {
      const response = await fetch(`${url}/_cluster/health`, {
        headers: { ...(searchEngine.authorization && { authorization: searchEngine.authorization }) },
        signal: AbortSignal.timeout(timeoutMs),
        redirect: 'error',
      }).catch(() => undefined)
      const body = response?.ok ? ((await response.json()) as { status?: string }) : undefined
      return { url, status: body?.status ?? `HTTP ${response?.status ?? 'no answer'}` }
    }),
  )
  return looked.map(({ url, status }) =>
    status === 'green'
      ? ok('search engine', `${url} is green.`)
      : status === 'yellow'
        ? warning('search engine', `${url} is yellow: a copy is missing.`, 'Bring the missing node back.')
        : problem('search engine', `${url}: ${status}.`, 'Look into its log; docs/search-engine.md.'),
  )
}

/** What no finding may hold, whoever's words it quotes. */
async function secretsOf({ databaseUrl, openfga, searchEngine, ops }: Config): Promise<readonly string[]> {
  const bearer = ops.bearerFile && (await readFile(ops.bearerFile, 'utf8').catch(() => '')).trim()
  const password = databaseUrl && URL.parse(databaseUrl)?.password
  return [
    databaseUrl,
    password,
    password && decoded(password),
    openfga?.apiToken,
    searchEngine?.authorization,
    bearer,
  ].filter((one): one is string => one !== undefined && one !== '')
}

/** A password may hold a bare `%`. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const hiding =
  (secrets: readonly string[]) =>
  (text: string): string =>
    secrets.reduce((shown, secret) => shown.replaceAll(secret, '…'), text)
