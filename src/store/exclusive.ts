import { AppError } from '../kernel/errors.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { connectOwn, type OwnConnection } from './client.ts'

/** Being the only process that uses a native database for something. */
export interface Exclusive extends AsyncDisposable {
  /**
   * Resolves while this process holds it. `renewed` is true once after the connection that held it was lost
   * and it was won back: another process may have written in between. Throws `authorization_unavailable` when
   * it cannot be won back.
   */
  hold(): Promise<{ readonly renewed: boolean }>
}

// Any number that nothing else here locks.
const lockNumber = 7_364_837

/**
 * Takes a session-level advisory lock on a connection of its own; it ends with the connection, so a dead
 * process keeps nothing. Throws when another process has it. Not for PGlite, whose advisory locks do not
 * exclude: there the folder's lock does.
 */
export async function lockDatabase(url: string): Promise<Exclusive> {
  let holding: OwnConnection | undefined = await tryLock(url)
  if (holding === undefined) {
    throw new OperatorError(
      'Another process uses this database with the embedded engine. Set OPENFGA_API_URL to run several.',
    )
  }
  let closed = false
  watch(holding)

  function watch(watched: OwnConnection): void {
    for (const event of ['error', 'end'] as const)
      watched.client.on(event, () => {
        if (holding === watched) holding = undefined
      })
  }

  return {
    async hold() {
      if (holding !== undefined) return { renewed: false }
      const reopened = closed ? undefined : await tryLock(url).catch(() => undefined)
      if (reopened === undefined)
        throw new AppError('authorization_unavailable', { internal: 'the engine lost its database' })
      holding = reopened
      watch(reopened)
      return { renewed: true }
    },
    async [Symbol.asyncDispose]() {
      closed = true
      const last = holding
      holding = undefined
      await last?.[Symbol.asyncDispose]()
    },
  }
}

async function tryLock(url: string): Promise<OwnConnection | undefined> {
  await using stack = new AsyncDisposableStack()
  const own = stack.use(await connectOwn({ url }))
  const { rows } = await own.client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
    lockNumber,
  ])
  if (rows[0]?.locked !== true) return undefined
  stack.move()
  return own
}
