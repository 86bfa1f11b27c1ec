import { randomBytes } from 'node:crypto'
import type { Server } from 'node:http'
import { fileURLToPath } from 'node:url'
import { createAdaptorServer } from '@hono/node-server'
import { operator } from './audit/record.ts'
import { startAdminServer } from './cli/admin-server.ts'
import type { AdminDeps } from './cli/commands/command.ts'
import { compose, type Service } from './compose/compose.ts'
import { reembedCommand } from './compose/embeddings.ts'
import { type Infrastructure, openInfrastructure, openStored } from './compose/infrastructure.ts'
import { openTelemetry } from './compose/telemetry.ts'
import { type DemoFacts, progressLine, welcome } from './compose/welcome.ts'
import type { Config } from './config/config.ts'
import { assertRecovered } from './delegation/recovery/restored.ts'
import type { Fetch } from './delegation/tokens/fetch-json.ts'
import { endSlowSenders } from './http/slow-senders.ts'
import { type Reembedded, type ReembedOptions, reembed } from './ingest/reembed.ts'
import type { Clock } from './kernel/clock.ts'
import { type Listening, listening } from './kernel/listening.ts'
import type { Log } from './kernel/log.ts'
import { OperatorError } from './kernel/operator-error.ts'
import { reasonOf } from './kernel/reason.ts'
import { startRecurring } from './kernel/recurring.ts'
import { knownRestrictions } from './kernel/restrictions.ts'
import { createStartupSteps } from './kernel/startup-steps.ts'
import { version } from './kernel/version.ts'
import { withTimeout } from './kernel/with-timeout.ts'
import { createSystemFetch } from './outbound/guarded-fetch.ts'
import { createChunkVectors } from './retrieval/chunk-index/postgres/vectors.ts'
import { loadSample } from './sample/load.ts'
import { giveSamplePasswords, isSeeded, samplePasswordsFile, seedSample } from './sample/seed.ts'
import { withSampleVectors } from './sample/vectors.ts'
import { lockHome } from './store/home.ts'
import { lockFolder } from './store/lock.ts'
import type { MigrateOptions } from './store/migrate.ts'
import { type LiveProcess, registerProcess } from './store/processes.ts'
import type { Database } from './store/sql.ts'

export interface StartOptions {
  readonly clock: Clock
  readonly log: Log
  readonly fetch: Fetch
  /** Says something to whoever started it. */
  readonly print: (text: string) => void
  /** Whether progress may redraw its line. */
  readonly isTerminal: boolean
  /**
   * The embedded database will never answer again, which is in the log: nothing is left but to end the
   * process.
   */
  readonly onStorageLost: () => void
  /** A restriction came into force that this version does not know: nothing is left but to end, as above. */
  readonly onRefused: () => void
  /** Ends a start that is under way: what was opened is closed, and its reason is thrown. */
  readonly signal?: AbortSignal
}

export interface RunningService extends AsyncDisposable {
  readonly service: Service
  readonly database: Database
  /** Undefined where the process answers no requests. */
  readonly port: number | undefined
}

/** Makes what the demo stores, and closes it. Nobody is answered. */
export async function seed(config: Config, options: StartOptions): Promise<void> {
  await using stack = new AsyncDisposableStack()
  await prepare(stack, config, options)
}

/** Starts everything in order and returns once it answers. Disposal drains and closes in reverse. */
export async function start(config: Config, options: StartOptions): Promise<RunningService> {
  const { log, print, signal } = options
  await using stack = new AsyncDisposableStack()
  const { infrastructure, service, demo } = await prepare(stack, config, options)
  stack.use(
    await startAdminServer({
      dir: config.home,
      opsPort: config.ops.port,
      deps: adminDeps(config, infrastructure, service),
      onError: (error) => log('command_failed', { reason: reasonOf(error) }),
    }),
  )
  const { host, port, ops, roles } = config
  const listening = roles.api
    ? stack.use(await listenAs('PORT', { fetch: service.app.fetch, host, port }))
    : undefined
  stack.use(await listenAs('OPS_PORT', { fetch: service.ops.fetch, ...ops }))
  // The first to end: whoever waits for a person is answered before the listeners are left to drain.
  stack.defer(() => service.approvals.endWaits())
  service.sources.start({ reads: roles.worker })
  service.directoryReader.start({ reads: roles.worker })
  const withoutVector = infrastructure.embeddings.available
    ? await createChunkVectors(infrastructure.database).countMissing(infrastructure.database)
    : 0
  if (withoutVector > 0) log('passages_without_vector', { count: withoutVector, command: reembedCommand })
  signal?.throwIfAborted()
  print(welcome(config, { embeddings: infrastructure.embeddings, withoutVector, demo }))
  const owned = stack.move()
  const { database } = infrastructure
  return { service, database, port: listening?.port, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** All of a start but what answers. */
async function prepare(stack: AsyncDisposableStack, config: Config, options: StartOptions) {
  const { clock, log, fetch, print, signal } = options
  const step = createStartupSteps((doing) => log('still_starting', { doing }))
  stack.use(await lockFolder(config.home))
  stack.use(await openTelemetry({ endpoint: config.otlpEndpoint, version }))
  // Asked before the first intake, not after it: a taken port would waste half a minute.
  await assertFree(config)
  const onProgress = progressLine(options.isTerminal, (text) => process.stderr.write(text))
  const opened = stack.use(
    await openInfrastructure(config, {
      now: () => clock.now(),
      log,
      step,
      onProgress,
      onStorageLost: options.onStorageLost,
      mayMake: true,
    }),
  )
  const infrastructure = config.demoSample ? await knowingSample(opened) : opened
  await assertRecovered(infrastructure.database)
  // Outside the demo it may well be a DATABASE_URL that was forgotten.
  if (!config.demo && config.databaseUrl === undefined)
    print(`The embedded database of ${config.home}/db is used: DATABASE_URL is not set.`)
  signal?.throwIfAborted()
  const live = stack.use(await registerAndBeat(infrastructure.database, options))
  const service = stack.use(
    await step('putting the service together: the model in force, keys, what is stored of permissions', () =>
      compose({
        config,
        infrastructure,
        clock,
        comparesClocks: true,
        log,
        fetch,
        outboundTo: createSystemFetch,
        assertLive: live.assertLive,
      }),
    ),
  )
  stack.use(service.record.sealing())
  signal?.throwIfAborted()
  const demo = config.demoSample ? await seedDemo(config, infrastructure, service, options) : undefined
  return { infrastructure, service, demo }
}

const beatMs = 5_000

/** Registers this process and says every five seconds that it runs (docs/decisions/0068). */
export async function registerAndBeat(
  database: Database,
  { log, onRefused }: Pick<StartOptions, 'log' | 'onRefused'>,
): Promise<LiveProcess> {
  const live = await registerProcess({ database, version, known: knownRestrictions })
  const beating = startRecurring(log, 'heartbeat', beatMs, async () => {
    try {
      // A connection to a server that is gone answers nothing: the next beat takes another.
      await withTimeout(beatMs, live.beat(), undefined)
    } catch (error) {
      if (error instanceof OperatorError) {
        log('refused', { reason: error.message })
        onRefused()
      } else throw error
    }
  })
  return {
    ...live,
    assertLive() {
      try {
        live.assertLive()
      } catch (error) {
        // After a sleep of the machine the next beat may be seconds away.
        void beating.poll()
        throw error
      }
    },
    async [Symbol.asyncDispose]() {
      await beating[Symbol.asyncDispose]()
      await live[Symbol.asyncDispose]()
    },
  }
}

async function assertFree({ host, port, ops, roles }: Config): Promise<void> {
  const fetch = () => new Response()
  await using _public = roles.api ? await listenAs('PORT', { fetch, host, port }) : undefined
  await using _operators = await listenAs('OPS_PORT', { fetch, ...ops })
}

const listenAs = (setting: 'PORT' | 'OPS_PORT', options: ListenOptions): Promise<Listening> =>
  orNamePort(setting, options, () => listen(options))

/** `setting` is what whoever starts it would change where the port is taken. */
export async function orNamePort<T>(
  setting: 'PORT' | 'OPS_PORT',
  { host, port }: Pick<ListenOptions, 'host' | 'port'>,
  listening: () => Promise<T>,
): Promise<T> {
  try {
    return await listening()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const why =
      code === 'EADDRINUSE' ? 'is taken by another process' : `cannot be listened on (${String(code)})`
    throw new OperatorError(
      `Port ${port} of ${host} ${why}. Name another in the environment or in .env: ${setting}=${port + 10}`,
      error,
    )
  }
}

/**
 * Opens everything but the listeners, for a command that finds no running service. The caller holds the
 * folder's lock.
 */
export async function withService<T>(
  config: Config,
  options: Pick<StartOptions, 'clock' | 'log' | 'fetch'> & Pick<MigrateOptions, 'upgradesCopy'>,
  work: (deps: AdminDeps) => Promise<T>,
): Promise<T> {
  // What only looks must not keep the version that was there from starting.
  const { clock, log, upgradesCopy = false } = options
  await using infrastructure = await openInfrastructure(config, {
    mayMake: false,
    upgradesCopy,
    now: () => clock.now(),
    log,
    step: createStartupSteps((doing) => log('still_starting', { doing })),
  })
  await using service = await compose({
    config,
    infrastructure,
    ...options,
    // For `recover`, which ends what was issued until now.
    comparesClocks: true,
    outboundTo: createSystemFetch,
  })
  return await work(adminDeps(config, infrastructure, service))
}

const adminDeps = ({ publicUrl }: Config, infrastructure: Infrastructure, service: Service): AdminDeps => ({
  ...service,
  passwords: service.issuer.passwords,
  barring: service.issuer.barring,
  demoConsent: service.issuer.demoConsent,
  publicUrl,
  resources: service.issuer.resources,
  grants: service.issuer.grants,
  database: infrastructure.database,
  saveCollection: (input) => service.ingest.saveCollection(operator('command'), input),
  drift: () => service.ingest.drift(),
})

/**
 * Makes all vectors anew with the configured model, or gives those passages one that lack it. No service
 * runs.
 */
export async function reembedStored(
  config: Config,
  {
    isTerminal,
    tell,
    onProgress,
  }: Pick<StartOptions, 'isTerminal'> &
    Pick<ReembedOptions, 'onProgress'> & { readonly tell: (doing: string) => void },
): Promise<Reembedded> {
  await using _lock = await lockHome(config.home)
  const onWeights = progressLine(isTerminal, (text) => process.stderr.write(text))
  await using stored = await openStored(config, {
    mayChange: true,
    mayMake: false,
    upgradesCopy: false,
    step: createStartupSteps(tell),
    onProgress: onWeights,
  })
  const { database, embeddings } = stored
  if (!embeddings.available) throw new OperatorError(`There is no embedding model. ${embeddings.reason}`)
  return await reembed({
    database,
    vectors: createChunkVectors(database),
    embedder: embeddings.embedder,
    newTxn: () => `t_${randomBytes(16).toString('base64url')}`,
    ...(onProgress && { onProgress }),
  })
}

const sampleFolder = fileURLToPath(new URL('../sample', import.meta.url))

/** Spares the model what comes with its vectors. */
async function knowingSample(opened: Infrastructure): Promise<Infrastructure> {
  const { embeddings } = opened
  if (!embeddings.available) return opened
  const embedder = await withSampleVectors(embeddings.embedder, sampleFolder)
  return { ...opened, embeddings: { available: true, embedder } }
}

async function seedDemo(
  { home }: Config,
  infrastructure: Infrastructure,
  service: Service,
  { clock, print, signal }: StartOptions,
): Promise<DemoFacts> {
  const sample = await loadSample(sampleFolder, new Date(clock.now()))
  if (!(await isSeeded(infrastructure.database))) {
    print(
      `First start: taking in ${sample.documents.length} documents of ${sample.organization.title}, the demo company. Once, about ten seconds on two idle cores.`,
    )
    await seedSample(
      sample,
      { ...service, database: infrastructure.database, issuer: service.ownIssuer },
      signal,
    )
  }
  await giveSamplePasswords(home, sample.people, { passwords: service.issuer.passwords, randomBytes })
  return {
    passwords: samplePasswordsFile(home),
    company: sample.organization.title,
    question: sample.question,
    documents: sample.documents.length,
    people: sample.people,
    agents: sample.agents,
  }
}

/** What answers, at which address and port, and the milliseconds that open requests get at the end. */
interface ListenOptions {
  readonly fetch: (request: Request, env: unknown) => Response | Promise<Response>
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Milliseconds that open requests get to end at close. Defaults to 10,000. */
  readonly drainMs?: number
  /** Milliseconds that a sender may take. Defaults to 120,000; looked at every 24th of that. */
  readonly senderMsMax?: number
}

/** Listens, and at disposal drains: no new requests, open ones end, then the sockets close. */
export async function listen({
  fetch,
  host,
  port,
  drainMs = 10_000,
  senderMsMax = 120_000,
}: ListenOptions): Promise<Listening> {
  const server = createAdaptorServer({
    fetch,
    // Slow senders may not hold a socket for ever (below); Node looks only every 30 s unless told. A kept
    // connection outlasts what proxies keep and the slowest polling: many clients do not send again what they
    // sent into one that was just closed, and Node's 5 s are the pause between two polls.
    serverOptions: {
      headersTimeout: 10_000,
      requestTimeout: 0,
      keepAliveTimeout: 75_000,
      connectionsCheckingInterval: 5_000,
    },
  }) as Server
  endSlowSenders(server, {
    msMax: senderMsMax,
    lookMs: senderMsMax / 24,
    mayTakeLong: ({ method, url }) => method === 'POST' && url?.split('?', 1)[0] === '/imports',
  })
  return listening(server, { host, port, drainMs })
}
