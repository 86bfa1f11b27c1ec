import { inspect } from 'node:util'
import { OutboundError } from '../../src/outbound/error.ts'
import {
  createGuardedFetch,
  type GuardedFetchOptions,
  type OutboundRequest,
} from '../../src/outbound/guarded-fetch.ts'

export const limits = { timeoutMs: 20_000, bytesMax: 64 * 1024 }

/** Names of a resolver that has only bad news. */
export const names: Readonly<Record<string, readonly string[]>> = {
  localhost: ['127.0.0.1', '::1'],
  'localhost.': ['127.0.0.1'],
  'a.localhost': ['127.0.0.1'],
  'localtest.me': ['127.0.0.1'],
  '127.0.0.1.nip.io': ['127.0.0.1'],
  'metadata.google.internal': ['169.254.169.254'],
  metadata: ['169.254.169.254'],
  'azure.example': ['168.63.129.16'],
  'kubernetes.default.svc': ['10.96.0.1'],
  'printer.local': ['192.168.1.40'],
  'six.example': ['fd00:ec2::254'],
  'mapped.example': ['::ffff:10.0.0.1'],
  'mixed.example': ['93.184.215.14', '10.0.0.1'],
  'mixed6.example': ['2606:2800:220:1::1', 'fe80::1'],
  'zone.example': ['fe80::1%eth0'],
  'nobody.example': [],
  'nonsense.example': ['not an address'],
}

/** How a fetch ended that must not have been answered. */
export async function refusal(
  address: string,
  options: Partial<GuardedFetchOptions> = {},
  request: Partial<OutboundRequest> = {},
) {
  const fetch = createGuardedFetch({ lookup: resolver(names), allowedOrigins: [], ...options })
  const error = await fetch(address, { ...limits, ...request }).then(
    ({ status }) => `answered ${status}`,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OutboundError)) throw new Error(`Not refused: ${inspect(error)}`)
  return error
}

export const resolver =
  (known: Readonly<Record<string, readonly string[]>>): GuardedFetchOptions['lookup'] =>
  async (host) =>
    (known[host] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))

export async function read(
  address: string,
  options: Partial<GuardedFetchOptions>,
  request: Partial<OutboundRequest> = {},
) {
  const fetch = createGuardedFetch({ lookup: resolver(names), allowedOrigins: [], ...options })
  const { status, headers, body } = await fetch(address, { ...limits, ...request })
  return { status, headers, text: Buffer.from(body).toString() }
}
