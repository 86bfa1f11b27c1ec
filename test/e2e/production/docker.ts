import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { composeFile, filled, inContainer } from './compose-file.ts'

// `docker compose …` as docs/production.md calls it, with this machine's programs in the place of containers:
// there is no daemon where tests run. It does what docker-compose.yml and the files in docker/ say, on a
// native Postgres in which other tests work as well, so that databases and roles have names of their own. Run
// in the deployment's folder.

/** Written by the test. */
interface Stand {
  /** Folder of the deployment's volumes, logs and process ids. */
  readonly folder: string
  /** Before the name of each database and role. */
  readonly prefix: string
  /** A superuser's URL. */
  readonly postgres: string
  readonly openfga: { readonly program: string; readonly port: number; readonly grpcPort: number }
}

const root = fileURLToPath(new URL('../../../', import.meta.url))
const stand = JSON.parse(readFileSync(process.env['STAND'] ?? '', 'utf8')) as Stand
const server = new URL(stand.postgres)
const dotenv = (existsSync('.env') ? parseEnv(readFileSync('.env', 'utf8')) : {}) as Readonly<
  Record<string, string>
>
const shell = process.env as Readonly<Record<string, string>>
const given = { ...dotenv, ...shell }
const inFolder = (path: string): string => join(stand.folder, path)

/** Names of databases and roles. What follows a slash is a path, and `remit.example.com` an address. */
const named = (text: string): string =>
  text.replaceAll(/(?<![/\w-])(remit|openfga)(?:\b(?!\.)|(?=_(?:new|\d+)\b))/g, `${stand.prefix}$1`)

function placed(text: string, volume: string): string {
  return text
    .replaceAll('/run/secrets', inFolder(`secrets/${volume}`))
    .replaceAll('/var/lib/remit', inFolder('home'))
}

const asSuperuser = {
  ...process.env,
  PGHOST: server.hostname,
  PGPORT: server.port,
  PGPASSWORD: server.password,
}

const sh = (script: string): unknown =>
  execFileSync('sh', ['-eu', '-c', script], { env: asSuperuser, stdio: ['ignore', 'inherit', 'inherit'] })
const script = (path: string): string => readFileSync(join(root, 'docker', path), 'utf8')

/** The secrets and the databases, once, as their containers make them. */
function prepare(): void {
  if (existsSync(inFolder('prepared'))) return
  for (const one of ['postgres', 'openfga', 'remit'])
    mkdirSync(inFolder(`secrets/${one}`), { recursive: true })
  sh(script('secrets.sh').replaceAll('/secrets/', `${inFolder('secrets')}/`))
  for (const file of ['openfga/config.yaml', 'remit/database_url']) {
    const path = inFolder(`secrets/${file}`)
    const moved = readFileSync(path, 'utf8').replace(
      /\/\/(\w+):(\w+)@postgres:5432\/(\w+)/,
      `//${stand.prefix}$1:$2@${server.host}/${stand.prefix}$3`,
    )
    writeFileSync(path, moved)
  }
  // Later commands do not see it: the file in a container may be that of an earlier version.
  const first = placed(named(script('postgres.sh')), 'postgres')
  sh(first.replaceAll('/record-owner.sql', join(root, 'docker/record-owner.sql')))
  writeFileSync(inFolder('prepared'), '')
}

const openfgaUrl = `http://127.0.0.1:${stand.openfga.port}`

function startOpenfga(): void {
  const { environment = {} } = composeFile().services.openfga
  const env = {
    ...process.env,
    ...filled(environment, given),
    OPENFGA_HTTP_ADDR: `127.0.0.1:${stand.openfga.port}`,
    OPENFGA_GRPC_ADDR: `127.0.0.1:${stand.openfga.grpcPort}`,
    OPENFGA_METRICS_ENABLED: 'false',
  }
  // It reads config.yaml where it is run, too.
  const cwd = inFolder('secrets/openfga')
  execFileSync(stand.openfga.program, ['migrate'], { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] })
  const [, , statistics = '', ...more] = composeFile().services['openfga-statistics'].entrypoint ?? []
  if (more.length > 0) throw new Error('The entrypoint of openfga-statistics is not one script.')
  sh(placed(named(statistics.replaceAll('$$', '$').replace('--host postgres', '')), 'postgres'))
  background('openfga', stand.openfga.program, ['run', '--log-level', 'warn'], cwd, env)
}

/** What the container of the service has, with this machine's ports and folders. */
function remitEnv(): NodeJS.ProcessEnv {
  const env = Object.entries(inContainer(dotenv, shell)).map(([name, value]) => [
    name,
    placed(value, 'remit'),
  ])
  const { PATH, REMIT_PORT: PORT, REMIT_OPS_PORT: OPS_PORT } = given
  const here = { PATH, PORT, OPS_PORT, HOST: '127.0.0.1', OPS_HOST: '127.0.0.1', OPENFGA_API_URL: openfgaUrl }
  return { ...Object.fromEntries(env), ...here }
}

function background(
  name: string,
  program: string,
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
): void {
  const log = openSync(inFolder(`${name}.log`), 'a')
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ['ignore', log, log] })
  writeFileSync(inFolder(`${name}.pid`), String(child.pid))
  child.unref()
}

function isRunning(name: string): boolean {
  if (!existsSync(inFolder(`${name}.pid`))) return false
  const pid = readFileSync(inFolder(`${name}.pid`), 'utf8')
  // One that has ended may wait for its parent.
  return /^[^Z]/.test(spawnSync('ps', ['-o', 'stat=', '-p', pid], { encoding: 'utf8' }).stdout.trim())
}

async function healthy(name: string, url: string, headers: Record<string, string> = {}): Promise<void> {
  for (;;) {
    const answer = await fetch(url, { headers }).catch(() => undefined)
    if (answer?.ok === true) return
    if (!isRunning(name)) throw new Error(`${name} ended:\n${readFileSync(inFolder(`${name}.log`), 'utf8')}`)
    await delay(100)
  }
}

async function up(services: readonly string[]): Promise<void> {
  filled(composeFile().services.remit.environment ?? {}, given)
  prepare()
  if (services.includes('postgres')) return
  if (!isRunning('openfga')) startOpenfga()
  await healthy('openfga', `${openfgaUrl}/healthz`)
  if (services.includes('openfga')) return
  const env = remitEnv()
  if (!isRunning('remit'))
    background('remit', process.execPath, [join(root, 'src/main.ts')], stand.folder, env)
  const authorization = `Bearer ${readFileSync(env['OPS_BEARER_FILE'] ?? '', 'utf8')}`
  await healthy('remit', `http://127.0.0.1:${env['OPS_PORT']}/readyz`, { authorization })
}

async function stop(services: readonly string[]): Promise<void> {
  for (const name of services.filter(isRunning)) {
    process.kill(Number(readFileSync(inFolder(`${name}.pid`), 'utf8')), 'SIGTERM')
    while (isRunning(name)) await delay(50)
  }
}

/** `exec` and `run`: one command in the container of a service. */
function inService([service = '', program = '', ...args]: readonly string[]): void {
  filled(composeFile().services.remit.environment ?? {}, given)
  const isPostgres = service === 'postgres'
  const argv = args.map((one) => placed(isPostgres ? named(one) : one, service))
  const command = program === 'node' ? process.execPath : program
  // The image holds JavaScript; here its sources run.
  if (program === 'node') argv[0] = join(root, (argv[0] ?? '').replace(/\.js$/, '.ts'))
  const options = { cwd: stand.folder, env: isPostgres ? asSuperuser : remitEnv() }
  process.exitCode = spawnSync(command, argv, { ...options, stdio: 'inherit' }).status ?? 1
}

const [compose, command, ...rest] = process.argv.slice(2)
const words = rest.filter((one) => !['-T', '--rm', '--no-deps', '--detach', '--wait'].includes(one))
if (compose !== 'compose') throw new Error(`Only docker compose is stood in for: ${compose}`)
if (command === 'up') await up(words)
else if (command === 'stop') await stop(words)
else if (command === 'exec') {
  const [service = ''] = words
  if (service !== 'postgres' && !isRunning(service)) throw new Error(`service "${service}" is not running`)
  inService(rest[0] === '-T' ? rest.slice(1) : rest)
} else if (command === 'run') {
  if (!rest.includes('--no-deps')) await up(['openfga'])
  inService(rest.slice(rest.findIndex((one) => !one.startsWith('-'))))
} else if (command !== 'build') throw new Error(`docker compose ${command} is not stood in for.`)
