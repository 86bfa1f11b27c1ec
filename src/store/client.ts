import pg, { type Connection } from 'pg'
import { withTimeout } from '../kernel/with-timeout.ts'

/** One connection of its own, beside the pools. */
export interface OwnConnection extends AsyncDisposable {
  readonly client: pg.Client
}

export interface OwnConnectionOptions {
  readonly url: string
  /** Milliseconds that the server may take to answer one text. Default: 20 s. */
  readonly answerMsMax?: number
  readonly name?: string
}

/** Milliseconds until a connection is there, or nobody is. */
export const connectMsMax = 5_000

/**
 * What every connection is opened with. TCP asks one that says nothing whether it is there, each second from
 * the tenth on: Linux would begin after two hours. It ends with the tenth question
 * (https://nodejs.org/api/net.html#socketsetkeepaliveenable-initialdelay).
 */
export const reachable = {
  connectionTimeoutMillis: connectMsMax,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10_000,
} as const

/** Opens one that waits for no answer for ever. A connection that breaks is told by its next question. */
export async function connectOwn(options: OwnConnectionOptions): Promise<OwnConnection> {
  const { url, answerMsMax = 20_000, name } = options
  const client = new pg.Client({
    ...reachable,
    connectionString: url,
    query_timeout: answerMsMax,
    ...(name !== undefined && { application_name: name }),
  })
  client.on('error', () => undefined)
  // The other side of a half-open connection never says goodbye.
  const close = async (): Promise<void> => {
    await withTimeout(
      connectMsMax,
      client.end().catch(() => undefined),
      undefined,
    )
    const { stream } = (client as pg.Client & { readonly connection: Connection }).connection
    stream.destroy()
  }
  await client.connect().catch(async (error: unknown) => {
    await close()
    throw error
  })
  return { client, [Symbol.asyncDispose]: close }
}
