import { once } from 'node:events'
import { chmod, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { readFacts } from '../doctor/facts.ts'
import { AppError } from '../kernel/errors.ts'
import { socketPath } from '../store/socket.ts'
import type { AdminDeps } from './commands/command.ts'
import { runCommand } from './commands.ts'

/** The folder of the socket, and what its commands work with. */
export interface AdminServerOptions {
  /** REMIT_HOME. The caller holds its lock. */
  readonly dir: string
  /** Where the operators' listener is. Default: nobody is told. */
  readonly opsPort?: number
  readonly deps: AdminDeps
  /** Told of what broke; the caller of the command is told only that it did. */
  readonly onError: (error: unknown) => void
}

/** Where a moved socket is written down: {@link socketPath} moves one whose path would be too long. */
export const pointerName = 'admin.path'
/** The file name of the socket in `REMIT_HOME`. */
export const socketName = 'admin.sock'
/** Where its address is written down, for commands whose shell does not name it. */
export const addressName = 'admin.url'
/** The same of the operators' port. */
export const opsPortName = 'ops.port'

/**
 * The running service's face for the machine's operator: HTTP on a Unix socket (0600 in a 0700 folder). Who
 * may open it is who may read the folder; there is no other check and no TCP route.
 */
export async function startAdminServer({
  dir,
  opsPort,
  deps,
  onError,
}: AdminServerOptions): Promise<AsyncDisposable> {
  const socket = await socketPath(dir, socketName)
  const pointer = join(dir, pointerName)
  const address = join(dir, addressName)
  const port = join(dir, opsPortName)
  const listener = getRequestListener(adminApp(deps, onError).fetch)
  const server = createServer((request, response) => {
    listener(request, response).catch(onError)
  })
  try {
    server.listen(socket.path)
    await once(server, 'listening')
    await chmod(socket.path, 0o600)
    await writeFile(pointer, socket.path, { mode: 0o600 })
    await writeFile(address, deps.publicUrl, { mode: 0o600 })
    if (opsPort !== undefined) await writeFile(port, String(opsPort), { mode: 0o600 })
  } catch (error) {
    server.close()
    await socket.remove()
    throw error
  }
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      await closed
      await rm(pointer, { force: true })
      await rm(address, { force: true })
      await rm(port, { force: true })
      await socket.remove()
    },
  }
}

const bytesMax = 64 * 1024

function adminApp(dependencies: AdminDeps, onError: (error: unknown) => void): Hono {
  const app = new Hono()
  const limit = bodyLimit({
    maxSize: bytesMax,
    onError: (context) => context.json({ code: 'payload_too_large', detail: 'The body is too large.' }, 413),
  })
  app.post('/commands/:name', limit, async (context) =>
    context.json(await runCommand(context.req.param('name'), await context.req.json(), dependencies)),
  )
  // No command: nothing is done, so nothing goes on record, which may be what cannot be written.
  app.post('/facts', async (context) => context.json(await readFacts(dependencies.database)))
  app.onError((error, context) => {
    if (error instanceof SyntaxError)
      return context.json({ code: 'malformed_body', detail: 'The body is not JSON.' }, 400)
    if (!(error instanceof AppError)) {
      onError(error)
      return context.json(
        { code: 'internal_error', detail: 'Something broke; the service has logged it.' },
        500,
      )
    }
    const { code, public: detail, field, status } = error
    if (status >= 500) onError(error)
    return Response.json({ code, detail: detail ?? code, ...(field !== undefined && { field }) }, { status })
  })
  return app
}
