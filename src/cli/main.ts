#!/usr/bin/env node
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { ConfigError, loadConfig, presentIn, settings } from '../config/config.ts'
import { withSecretFiles } from '../config/secret-files.ts'
import { systemClock } from '../kernel/clock.ts'
import { assertNode } from '../kernel/node.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { reasonOf } from '../kernel/reason.ts'
import { version } from '../kernel/version.ts'
import { createAdminClient, readRunningFacts, runningOpsPort, runningUrl } from './admin-client.ts'
import { createDemoTokens } from './demo-tokens.ts'
import { failureCode } from './exit-code.ts'
import { runCli } from './program.ts'
import { createSignInStore } from './sign-in-store.ts'
import { createSignIns } from './sign-ins.ts'
import { createTerminal } from './terminal.ts'

// As in src/main.ts: a command may make the folder's files.
process.umask(0o077)

const argv = process.argv.slice(2)
const failed = failureCode(argv)

if (existsSync('.env'))
  try {
    process.loadEnvFile('.env')
  } catch (error) {
    console.error(`.env cannot be read: ${reasonOf(error)}`)
    process.exit(failed)
  }

// Loaded when it is needed: most commands only speak to the running service, and need not wait for all of it.
const wholeService = () => {
  assertNode()
  return import('../start.ts')
}

/**
 * Only what finds the service is read here: the service itself may run under other settings than this shell.
 */
const read = settings
  .pick({ REMIT_HOME: true, PORT: true, PUBLIC_URL: true, OPENFGA_API_URL: true, OPENFGA_API_TOKEN: true })
  .safeParse(presentIn(withSecretFiles(process.env, (path) => readFileSync(path, 'utf8')).env))
if (!read.success) {
  console.error(
    new ConfigError(read.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`)).message,
  )
  process.exit(failed)
}
const { REMIT_HOME, PORT, PUBLIC_URL, OPENFGA_API_URL, OPENFGA_API_TOKEN } = read.data

// Whoever reads the output may have seen enough (`remit … | head`): no reason for a stack trace.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') console.error(`The answer cannot be written: ${reasonOf(error)}`)
  // Of one that judges, 0 would say that nothing is wrong.
  process.exit(error.code === 'EPIPE' && failed === 1 ? 0 : failed)
})

/**
 * The person's own folder, beside no service's: where the XDG base directories say. A relative path counts as
 * none.
 */
function configFolder(): string {
  const { XDG_CONFIG_HOME: configured = '' } = process.env
  return join(isAbsolute(configured) ? configured : join(homedir(), '.config'), 'remit')
}

const home = resolve(REMIT_HOME)
// What this shell names counts; else the service of the folder, wherever it listens: the port that is usual
// may be another's.
const running = process.env['PORT'] ? undefined : await runningUrl(home)
const admin = createAdminClient({
  home,
  withService: async (task, opening) => {
    const { withService } = await wholeService()
    const options = { clock: systemClock, log: () => undefined, fetch, ...opening }
    return withService(loadConfig(process.env), options, task)
  },
})

/** What is copied, or filled. */
function stored() {
  const { databaseUrl, openfgaDatabaseUrl, openfga, home: folder } = loadConfig(process.env)
  // The embedded engine keeps its tuples in the database itself.
  const openfgaUrl = openfga === undefined ? undefined : openfgaDatabaseUrl
  return { databaseUrl, openfgaUrl, keysDir: join(folder, 'keys'), env: process.env }
}

/** Only a native database is copied and filled: the embedded one is copied with its folder. */
function native<T extends ReturnType<typeof stored>>({ databaseUrl, ...others }: T, whenEmbedded: string) {
  if (databaseUrl === undefined) throw new OperatorError(whenEmbedded)
  return { ...others, databaseUrl }
}

const restoring = (from: string, identity: string) => ({
  ...stored(),
  from,
  identity,
  migrations: new URL('../../migrations/', import.meta.url),
})

const terminal = createTerminal(process)
const interrupted = new AbortController()
process.exitCode = await runCli(argv, {
  admin,
  demoTokens: createDemoTokens({ admin, home, fetch }),
  terminal,
  serve: async (isDemo) => {
    if (isDemo) process.env['REMIT_DEMO'] = 'true'
    // Else a folder that lacks its .env would get the demo, whose tokens anybody at this machine may have.
    else process.env['REMIT_DEMO'] ||= 'false'
    await import('../main.ts')
  },
  examine: async () => {
    assertNode()
    const { examineService } = await import('../doctor/service.ts')
    // As with PORT above: what this shell names counts, else the service of the folder.
    const opsPort = process.env['OPS_PORT'] || (await runningOpsPort(home))
    const env = { ...process.env, ...(opsPort !== undefined && { OPS_PORT: opsPort }) }
    return examineService(env, { askRunning: readRunningFacts, fetch, now: Date.now })
  },
  reembed: async (onProgress) => {
    const { reembedStored } = await wholeService()
    return reembedStored(loadConfig(process.env), {
      isTerminal: process.stderr.isTTY,
      tell: (doing) => terminal.say(`Still ${doing}.`),
      onProgress,
    })
  },
  backups: {
    async backup(to, recipient) {
      const { backup } = await import('../backup/backup.ts')
      const copied = native(
        stored(),
        'The embedded database is copied with its folder: stop the service and copy REMIT_HOME, but no keys/issuer-* of it (docs/recovery.md). With DATABASE_URL this command copies it.',
      )
      return backup({ ...copied, to, recipient, version })
    },
    async restore(from, identity) {
      const filled = native(
        restoring(from, identity),
        'DATABASE_URL is missing: a backup is restored into the empty database that it names. A copy of REMIT_HOME, with an embedded database, is put back as the folder (docs/recovery.md).',
      )
      return (await import('../backup/restore.ts')).restore(filled)
    },
    async check(from, identity) {
      return (await import('../backup/restore.ts')).checkArchive(restoring(from, identity))
    },
    makeKey: async (path) => (await import('../backup/archive.ts')).makeIdentity(path),
  },
  fetch,
  signIns: createSignIns({
    store: createSignInStore(join(configFolder(), 'sign-ins')),
    fetch,
    now: Date.now,
  }),
  publicUrl: PUBLIC_URL ?? running ?? `http://localhost:${PORT}`,
  ...(OPENFGA_API_URL !== undefined && {
    openfga: {
      apiUrl: OPENFGA_API_URL,
      ...(OPENFGA_API_TOKEN !== undefined && { apiToken: OPENFGA_API_TOKEN }),
    },
  }),
  envToken: process.env['REMIT_TOKEN'],
  stdio: { folder: join(configFolder(), 'mcp'), stdin: process.stdin, stdout: process.stdout },
  newKey: randomUUID,
  now: Date.now,
  whenInterrupted() {
    process.once('SIGINT', () => interrupted.abort())
    return interrupted.signal
  },
})
// What was under way then is not waited for.
if (interrupted.signal.aborted) process.exit(130)
