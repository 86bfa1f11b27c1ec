import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connection, DemoError, type Places } from './places.ts'

export interface Services extends AsyncDisposable {
  /** false: they ran already, for a conversation in another terminal. */
  readonly areOurs: boolean
}

const endsMs = 12_000
const readyMs = 300_000
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/**
 * Remit, the broker and the double of a market-data provider, each a process of its own: the assistant
 * reaches them over HTTP and in no other way. Where they run already they are used; those that were started
 * here end with this process.
 */
export async function openServices(places: Places, signal: AbortSignal): Promise<Services> {
  if (await areRunning(places)) return { areOurs: false, [Symbol.asyncDispose]: async () => undefined }
  for (const [name, port] of Object.entries(places.ports)) await assertFree(name, port, places)
  await mkdir(places.folder, { recursive: true, mode: 0o700 })
  await using stack = new AsyncDisposableStack()
  const start = (name: string, script: string, env: Readonly<Record<string, string>> = {}) =>
    stack.use(startProcess(name, script, { ...env, ...placeSettings(places) }, places.folder))

  const secret = randomBytes(24).toString('base64url')
  start('market', 'market.ts', { MARKET_PORT: String(places.ports.market), MARKET_CLIENT_SECRET: secret })
  start('broker', '../broker.ts', { ISSUER: places.issuer, RESOURCE: places.broker })
  const remit = start('remit', '../../src/main.ts', {
    REMIT_HOME: places.home,
    PORT: String(places.ports.remit),
    OPS_PORT: String(places.ports.operators),
    DEMO_SAMPLE: 'false',
    MARKET_CLIENT_SECRET: secret,
    // It is on loopback, where the vault calls nobody who is not named.
    OUTBOUND_ALLOWED_ORIGINS: places.market,
    VAULT_PROVIDERS: JSON.stringify([
      {
        provider: 'openid',
        name: connection,
        title: 'Tickerwire (a double)',
        issuer: places.market,
        api_origins: [places.market],
        client_id: 'remit',
        client_secret_env: 'MARKET_CLIENT_SECRET',
        rules: [{ title: 'Read quotes', methods: ['GET'], paths: ['/quotes/*'] }],
      },
    ]),
  })
  await until(() => isUp(`${places.url}/healthz`), remit, signal)
  const setup = start('setup', 'setup.ts')
  const stopped = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined)),
  )
  if ((await Promise.race([setup.ended, stopped])) !== 0)
    throw new DemoError(`The demo could not be set up:\n${setup.said()}`)
  await until(() => areRunning(places), remit, signal)
  const owned = stack.move()
  return { areOurs: true, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

const placeSettings = ({ ports, folder }: Places) => ({
  ASSISTANT_PORT: String(ports.remit),
  ASSISTANT_HOME: folder,
})

async function areRunning({ url, broker, market }: Places): Promise<boolean> {
  const addresses = [`${url}/healthz`, `${market}/.well-known/openid-configuration`]
  const { origin, pathname } = new URL(broker)
  addresses.push(`${origin}/.well-known/oauth-protected-resource${pathname}`)
  return (await Promise.all(addresses.map(isUp))).every(Boolean)
}

const isUp = (address: string): Promise<boolean> =>
  fetch(address, { signal: AbortSignal.timeout(2_000) }).then(
    async (response) => (await response.text()) !== '' && response.ok,
    () => false,
  )

async function until(isReady: () => Promise<boolean>, remit: Started, signal: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(readyMs)
  while (!(await isReady())) {
    signal.throwIfAborted()
    if (remit.hasEnded()) throw new DemoError(`Remit did not start:\n${remit.said()}`)
    if (late.aborted) throw new DemoError(`Remit did not start in time:\n${remit.said()}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

async function assertFree(name: string, port: number, { ports, folder }: Places): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    throw new DemoError(
      `Port ${port} (${name}) of 127.0.0.1 is taken by another process: if that is this demo, starting in another terminal, wait until it has. Else choose four others in a row: ASSISTANT_PORT=${ports.remit + 10} npm run demo:assistant. Data: ${folder}`,
    )
  } finally {
    server.close()
  }
}

interface Started extends AsyncDisposable {
  hasEnded(): boolean
  /** The end of what it said. */
  said(): string
  readonly ended: Promise<number | null>
}

function startProcess(
  name: string,
  script: string,
  env: Readonly<Record<string, string>>,
  folder: string,
): Started {
  const child = spawn(process.execPath, ['--import', here('with-parent.ts'), here(script)], {
    // A `.env` of this folder is meant for a Remit of one's own.
    cwd: folder,
    env: { ...inherited(), ...env },
    // Not of this terminal's group: Ctrl-C ends the conversation first, and that ends these.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const log = createWriteStream(join(folder, `${name}.log`), { mode: 0o600 })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-4_000)
      log.write(text)
    })
  const ended = once(child, 'close').then(([code]) => {
    log.end()
    return code as number | null
  })
  return {
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    said: () => said,
    ended,
    [Symbol.asyncDispose]: () => end(child, ended),
  }
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), endsMs)
  await ended
  clearTimeout(late)
}

/**
 * What a Node process needs, and where the embedding model is; settings of a Remit of one's own are not for
 * this one.
 */
const inherited = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined &&
        /^(PATH|HOME|TMPDIR|LANG|EMBEDDINGS_.*|NODE_EXTRA_CA_CERTS)$/.test(entry[0]),
    ),
  )
