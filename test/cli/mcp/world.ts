import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, type ClientOptions } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { type IssuerWorld, openIssuerWorld, password } from '../../delegation/issuer/world.ts'
import { freePort } from '../../support/port.ts'
import { programEnv } from '../../support/program-env.ts'

const program = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))

/** The service on a port that can fail, with an agent's client for programs on this machine. */
export interface ProxyWorld extends AsyncDisposable {
  readonly service: IssuerWorld
  readonly url: string
  /** As a crash does: every connection ends at once, and nobody listens until `revive`. */
  kill(): void
  revive(): Promise<void>
  /** Holds what comes in from now on, and resolves with the next request's connection. */
  hold(): Promise<Socket>
  release(): void
  /** A new, empty folder for what the proxy keeps. */
  folder(): Promise<string>
  open(options: ProxyOptions): StdioProxy
  /** The person, at a browser elsewhere, enters the code and agrees. */
  agree(code: string, answer?: Agreement): Promise<void>
}

export interface Agreement {
  readonly user?: string
  readonly refuse?: boolean
}

export interface ProxyOptions {
  readonly folder: string
  readonly argv?: readonly string[]
  readonly client?: ClientOptions
  /** What the person does when a code is shown. Default: agrees to the handbook. */
  readonly onCode?: (code: string) => Promise<void>
}

/** `remit mcp`, started by an official client as any host starts it. */
export interface StdioProxy {
  readonly client: Client
  /** Resolves when the client and the service have agreed on a revision. */
  connect(): Promise<void>
  /** What people were told. */
  said(): string
  readonly codes: readonly string[]
  /** What the client could not read: anything on stdout that is no protocol. */
  readonly strays: Error[]
  pid(): number
  close(): Promise<void>
}

export async function openProxyWorld(): Promise<ProxyWorld> {
  const outside = await freePort()
  const service = await openIssuerWorld({ env: { PUBLIC_URL: `http://localhost:${outside}` } })
  const url = service.config.publicUrl
  const inside = service.config.port
  const sockets = new Set<Socket>()
  const folders: string[] = []
  let held: ((socket: Socket) => void) | undefined
  let waiting: (() => void)[] = []

  const front = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    const begin = (first: Buffer) => {
      const onward = connect(inside, '127.0.0.1')
      onward.on('error', () => socket.destroy())
      socket.on('close', () => onward.destroy())
      onward.write(first)
      socket.pipe(onward).pipe(socket)
    }
    socket.once('data', (first: Buffer) => {
      // The stream that a client of the revision before asks for is refused at once, whenever that is.
      if (held === undefined || !first.toString('latin1').startsWith('POST')) return begin(first)
      socket.pause()
      waiting.push(() => begin(first))
      held(socket)
      held = () => undefined
    })
  })
  const start = async () => {
    front.listen(outside, '127.0.0.1')
    await once(front, 'listening')
  }
  await start()

  async function agree(code: string, { user = 'anne', refuse = false }: Agreement = {}): Promise<void> {
    const browser = service.browser()
    const entry = await browser.open(`${service.issuer}/device`)
    const confirm = await browser.submit(entry, '/oauth/device', { user_code: code })
    const asked = await browser.submit(confirm, '/oauth/device')
    const consent = await browser.submit(asked, '/sign-in', { user, password })
    await browser.submit(consent, refuse ? '/refuse' : '/consent', {
      object: ['collection:handbook'],
      seconds: '3600',
    })
  }

  return {
    service,
    url,
    kill() {
      front.close()
      for (const socket of sockets) socket.destroy()
    },
    revive: start,
    hold: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        held = resolve
      }),
    release() {
      held = undefined
      for (const begin of waiting.splice(0)) begin()
      waiting = []
    },
    async folder() {
      const folder = await mkdtemp(join(tmpdir(), 'remit-mcp-'))
      folders.push(folder)
      return folder
    },
    open: (options) => startProxy(url, agree, options),
    agree,
    async [Symbol.asyncDispose]() {
      front.close()
      for (const socket of sockets) socket.destroy()
      await service[Symbol.asyncDispose]()
      for (const folder of folders) await rm(folder, { recursive: true })
    },
  }
}

export const proxyArguments = (url: string, argv: readonly string[] = []): string[] => [
  program,
  'mcp',
  ...argv,
  '--url',
  url,
]

function startProxy(
  url: string,
  agree: (code: string) => Promise<void>,
  { folder, argv = [], client: options = {}, onCode = agree }: ProxyOptions,
): StdioProxy {
  const client = new Client(
    { name: 'test-host', version: '1.0.0' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } }, ...options },
  )
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: proxyArguments(url, argv),
    env: { ...programEnv, HOME: folder, XDG_CONFIG_HOME: folder },
    cwd: folder,
    stderr: 'pipe',
  })
  const strays: Error[] = []
  const codes: string[] = []
  let said = ''
  transport.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString()
    const shown = [...said.matchAll(/enter this code: +(\S+)\n/g)].map(([, code = '']) => code)
    for (const code of shown.slice(codes.length)) {
      codes.push(code)
      onCode(code).catch((error: unknown) => strays.push(error as Error))
    }
  })
  client.onerror = (error) => strays.push(error)
  return {
    client,
    connect: () => client.connect(transport),
    said: () => said,
    codes,
    strays,
    pid: () => transport.pid ?? 0,
    close: () => client.close(),
  }
}
