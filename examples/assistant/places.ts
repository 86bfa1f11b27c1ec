import { join, resolve } from 'node:path'

/** Where everything of the demo is: four ports in a row, and one folder. */
export interface Places {
  readonly ports: {
    readonly remit: number
    readonly operators: number
    readonly broker: number
    readonly market: number
  }
  /** Of Remit, and of its authorization server. */
  readonly url: string
  readonly issuer: string
  /** The broker's API: exactly the audience of its tokens. */
  readonly broker: string
  readonly market: string
  readonly folder: string
  /** Remit's own: REMIT_HOME. */
  readonly home: string
  /** The assistant's private key, and the people's passwords. */
  readonly key: string
  readonly passwords: string
}

export const clientId = 'assistant-app'
export const agent = 'trading-assistant'
/** What the vault knows the market data by. */
export const connection = 'tickerwire'
export const people = ['anne', 'bob'] as const

const portDefault = 8810

export function placesOf({
  ASSISTANT_PORT = String(portDefault),
  ASSISTANT_HOME = '.remit-assistant',
}: Readonly<Record<string, string | undefined>>): Places {
  const first = Number(ASSISTANT_PORT)
  if (!Number.isInteger(first) || first < 1 || first > 65_532)
    throw new DemoError('ASSISTANT_PORT must be a port, 1 to 65532: four in a row are used.')
  const ports = { remit: first, operators: first + 1, broker: first + 2, market: first + 3 }
  const url = `http://localhost:${ports.remit}`
  const folder = resolve(ASSISTANT_HOME)
  return {
    ports,
    url,
    issuer: `${url}/oauth`,
    broker: `http://127.0.0.1:${ports.broker}/api`,
    market: `http://127.0.0.1:${ports.market}`,
    folder,
    home: join(folder, 'remit'),
    key: join(folder, 'assistant.key.json'),
    // Where the sign-in page of a demo says that they are.
    passwords: join(folder, 'remit', 'demo-passwords'),
  }
}

/** For whoever started the demo, in a sentence that says what to do. */
export class DemoError extends Error {
  override readonly name = 'DemoError'
}
