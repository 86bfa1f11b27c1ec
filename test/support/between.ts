import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Between extends AsyncDisposable {
  readonly port: number
  hush(): void
}

/** Stands before a server. Hushed, it keeps what is open and passes nothing on; what is opened then works. */
export async function startBetween(port: number): Promise<Between> {
  const open = new Set<Socket>()
  const server = createServer((here) => {
    const there = connect(port, '127.0.0.1')
    here.pipe(there).pipe(here)
    for (const socket of [here, there]) open.add(socket.on('error', () => undefined))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    hush() {
      for (const socket of open) socket.unpipe().pause()
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
