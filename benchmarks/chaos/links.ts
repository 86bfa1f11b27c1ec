import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../test/support/port.ts'

/** What a network does to a connection: a toxic of Toxiproxy (https://github.com/Shopify/toxiproxy). */
export interface Toxic {
  readonly type: 'latency' | 'bandwidth' | 'slow_close' | 'timeout' | 'reset_peer' | 'slicer' | 'limit_data'
  /** `upstream`: what the client says; `downstream`: what it hears. */
  readonly stream: 'upstream' | 'downstream'
  readonly attributes: Readonly<Record<string, number>>
}

/** One TCP address in front of another. */
export interface Link {
  readonly port: number
  add(toxic: Toxic): Promise<void>
  /** Not: connections are refused, and those that there are end. */
  enable(isEnabled: boolean): Promise<void>
}

export interface Links extends AsyncDisposable {
  open(name: string, upstreamPort: number): Promise<Link>
  /** Every link is as it was opened. */
  heal(): Promise<void>
}

/** Starts a Toxiproxy. */
export async function openLinks(program: string): Promise<Links> {
  const port = await freePort()
  const child = spawn(program, ['-host', '127.0.0.1', '-port', String(port)], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const ask = async (path: string, body: object = {}): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`Toxiproxy ${path}: ${response.status} ${await response.text()}`)
    await response.arrayBuffer()
  }
  for (let tries = 0; ; tries += 1) {
    try {
      await ask('/reset')
      break
    } catch (error) {
      if (tries > 100) throw error
      await sleep(50)
    }
  }
  return {
    async open(name, upstreamPort) {
      const own = await freePort()
      await ask('/proxies', { name, listen: `127.0.0.1:${own}`, upstream: `127.0.0.1:${upstreamPort}` })
      return {
        port: own,
        add: (toxic) => ask(`/proxies/${name}/toxics`, { ...toxic, toxicity: 1 }),
        enable: (enabled) => ask(`/proxies/${name}`, { enabled }),
      }
    },
    heal: () => ask('/reset'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
