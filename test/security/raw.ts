import { once } from 'node:events'
import { connect } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

/**
 * Sends bytes as they are to a loopback port and reads one answer: no client that tidies a path or a header.
 */
export async function sendRaw(port: number, request: string): Promise<RawAnswer> {
  const socket = connect({ host: '127.0.0.1', port })
  const parts: Buffer[] = []
  socket.on('data', (part) => parts.push(part))
  // A server that refuses early may reset the connection; what it had said counts.
  socket.on('error', () => undefined)
  socket.write(request)
  await once(socket, 'close')
  const text = Buffer.concat(parts).toString()
  const end = text.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
  return { status: Number(statusLine.split(' ')[1]), headers, body: text.slice(end + 4) }
}
