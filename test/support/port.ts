import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

// Below those that systems give to whoever asks for any, to outgoing connections too (Linux: 32,768 on;
// others: 49,152). 10,080, which `fetch` refuses, is left out.
const [from, to] = [10_100, 32_768]
const given = new Set<number>()

/**
 * A port of loopback on which nothing listens now, for a server that begins later: given once in this
 * process, and to nobody by the system. Another process of tests may choose the same, though seldom: whoever
 * starts a server waits for its own word, not for an answer at the port.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(from, to)
    if (given.has(port)) continue
    given.add(port)
    if (await isFree(port)) return port
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
