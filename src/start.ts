import { fileURLToPath } from 'node:url'
import type { Config } from './config.ts'
import { operator } from './audit/record.ts'
import { startAdminServer } from './cli/admin-server.ts'
import type { AdminDeps } from './cli/commands.ts'
import { compose, type Service } from './compose.ts'
import type { Fetch } from './delegation/fetch-json.ts'
import { type Ground, openGround } from './ground.ts'
import type { Clock } from './kernel/clock.ts'
import type { Log } from './kernel/log.ts'
import { isSeeded, seedSample } from './sample/seed.ts'
import { loadSample } from './sample/load.ts'
import { listen } from './serve.ts'
import { lockFolder } from './store/lock.ts'
import { type DemoFacts, progressLine, welcome } from './welcome.ts'

export interface StartOptions {
  readonly clock: Clock
  readonly log: Log
  readonly fetch: Fetch
  /** Says something to whoever started it. */
  readonly print: (text: string) => void
  /** Whether progress may redraw its line. */
  readonly isTerminal: boolean
}

export interface RunningService extends AsyncDisposable {
  readonly service: Service
  readonly port: number
}

/** Starts everything in order and returns once it answers. Disposal drains and closes in reverse. */
export async function start(config: Config, options: StartOptions): Promise<RunningService> {
  const { clock, log, fetch, print } = options
  const stack = new AsyncDisposableStack()
  try {
    stack.use(await lockFolder(config.home))
    const onProgress = progressLine(options.isTerminal, (text) => process.stderr.write(text))
    const ground = stack.use(await openGround(config, { now: () => clock.now(), log, onProgress }))
    const service = stack.use(await compose({ config, ground, clock, log, fetch }))
    const demo = config.demo ? await seedDemo(ground, service, options) : undefined
    stack.use(
      await startAdminServer({
        dir: config.home,
        deps: adminDeps(ground, service),
        onError: (error) => log('command_failed', { reason: error instanceof Error ? error.message : 'thrown value' }),
      }),
    )
    const listening = stack.use(await listen({ fetch: service.app.fetch, host: config.host, port: config.port }))
    stack.use(await listen({ fetch: service.ops.fetch, host: config.ops.host, port: config.ops.port }))
    print(welcome(config, ground, demo))
    const owned = stack.move()
    return { service, port: listening.port, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

/**
 * Opens everything but the listeners, for a command that finds no running service. The caller holds the
 * folder's lock.
 */
export async function withService<T>(
  config: Config,
  options: Omit<StartOptions, 'print' | 'isTerminal'>,
  work: (deps: AdminDeps) => Promise<T>,
): Promise<T> {
  const { clock, log } = options
  await using ground = await openGround(config, { now: () => clock.now(), log })
  await using service = await compose({ config, ground, ...options })
  return await work(adminDeps(ground, service))
}

const adminDeps = (ground: Ground, service: Service): AdminDeps => ({
  ...service,
  database: ground.database,
  saveCollection: (input) => service.ingest.saveCollection(operator('command'), input),
  drift: () => service.ingest.drift(),
})

async function seedDemo(ground: Ground, service: Service, { clock, print }: StartOptions): Promise<DemoFacts> {
  const dir = fileURLToPath(new URL('../sample', import.meta.url))
  const sample = await loadSample(dir, new Date(clock.now()))
  if (!(await isSeeded(ground.database))) {
    print(`First start: taking in ${sample.documents.length} documents of ${sample.organization.title}.`)
    await seedSample(sample, { ...service, database: ground.database, issuer: service.ownIssuer })
  }
  return {
    company: sample.organization.title,
    question: sample.question,
    documents: sample.documents.length,
    people: sample.people,
    agents: sample.agents,
  }
}
