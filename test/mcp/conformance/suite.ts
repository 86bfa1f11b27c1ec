import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const command = fileURLToPath(
  new URL('../../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
)

export interface SuiteResult {
  readonly code: number
  readonly printed: string
  /** `scenario:check` → outcomes. */
  readonly checks: ReadonlyMap<string, readonly string[]>
}

/** Runs MCP's own conformance command as anybody would, and reads what it looked at. */
export async function runSuite(leg: 'server' | 'client', flags: readonly string[]): Promise<SuiteResult> {
  const results = await mkdtemp(join(tmpdir(), 'remit-conformance-'))
  try {
    const child = spawn(process.execPath, [command, leg, ...flags, '--output-dir', results], {
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    })
    let printed = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        printed += text
      })
    const [code] = (await once(child, 'close')) as [number]
    return { code, printed, checks: await checksIn(results) }
  } finally {
    await rm(results, { recursive: true })
  }
}

async function checksIn(folder: string): Promise<Map<string, string[]>> {
  const checks = new Map<string, string[]>()
  for (const name of await readdir(folder, { recursive: true })) {
    if (!name.endsWith('checks.json')) continue
    // server-SCENARIO-TIMESTAMP/checks.json, or auth/SCENARIO-TIMESTAMP/checks.json
    const scenario = name
      .replace(/\/checks\.json$/, '')
      .replace(/^server-/, '')
      .replace(/-\d{4}-\d\d-\d\dT.*$/, '')
    const read = JSON.parse(await readFile(join(folder, name), 'utf8')) as { id: string; status: string }[]
    for (const { id, status } of read) {
      const key = `${scenario}:${id}`
      checks.set(key, [...(checks.get(key) ?? []), status])
    }
  }
  return checks
}

export interface Proxy extends AsyncDisposable {
  readonly url: string
}

/**
 * A program of the agent's on the same machine: adds its token to what passes, since the suite knows of none,
 * and changes nothing else, Host and Origin included.
 */
export async function openProxy({
  server = createServer(),
  to,
  token,
}: {
  readonly server?: Server
  readonly to: number
  readonly token: () => Promise<string>
}): Promise<Proxy> {
  const forward = (authorization: string, incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const { method, url: path, headers } = incoming
    const forwarded = httpRequest({
      host: '127.0.0.1',
      port: to,
      method,
      path,
      headers: { ...headers, authorization },
    })
    forwarded.on('response', (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(outgoing)
    })
    forwarded.on('error', () => outgoing.destroy())
    outgoing.on('close', () => forwarded.destroy())
    incoming.pipe(forwarded)
  }
  server.on('request', (incoming, outgoing) => {
    token().then(
      (value) => forward(`Bearer ${value}`, incoming, outgoing),
      () => outgoing.destroy(),
    )
  })
  if (!server.listening) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
  const { port } = server.address() as AddressInfo
  return {
    url: `http://localhost:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}
