import { openInfrastructure } from './compose/infrastructure.ts'
import { composeNominator } from './compose/nominator.ts'
import { openTelemetry } from './compose/telemetry.ts'
import type { Config } from './config/config.ts'
import { assertRecovered } from './delegation/recovery/restored.ts'
import type { Listening } from './kernel/listening.ts'
import { createStartupSteps } from './kernel/startup-steps.ts'
import { version } from './kernel/version.ts'
import { listen, orNamePort, registerAndBeat, type StartOptions } from './start.ts'
import { lockFolder } from './store/lock.ts'

/** Starts a process that holds tuples for others, and returns once it listens (docs/scaling.md). */
export async function startNominator(
  config: Config,
  { clock, log, print, onStorageLost, onRefused, signal }: StartOptions,
): Promise<Listening> {
  const { host, port, ops, nominatorShare: share } = config
  const step = createStartupSteps((doing) => log('still_starting', { doing }))
  await using stack = new AsyncDisposableStack()
  stack.use(await lockFolder(config.home))
  stack.use(await openTelemetry({ endpoint: config.otlpEndpoint, version }))
  const infrastructure = stack.use(
    await openInfrastructure(config, {
      now: () => clock.now(),
      log,
      step,
      onStorageLost,
      mayMake: true,
      needsModel: false,
    }),
  )
  await assertRecovered(infrastructure.database)
  signal?.throwIfAborted()
  stack.use(await registerAndBeat(infrastructure.database, { log, onRefused }))
  const service = stack.use(
    await step('opening the replica of the tuples', () =>
      composeNominator({ config, infrastructure, clock, log }),
    ),
  )
  stack.use(await orNamePort('OPS_PORT', ops, () => listen({ fetch: service.ops.fetch, ...ops })))
  const listening = stack.use(await orNamePort('PORT', { host, port }, service.serve))
  signal?.throwIfAborted()
  print(
    `Remit holds share ${share.number} of ${share.of} of the tuples for processes with NOMINATOR_URLS, at port ${listening.port} of ${host}.\nCtrl-C stops.`,
  )
  const owned = stack.move()
  return { port: listening.port, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
