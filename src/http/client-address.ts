import { BlockList, isIP, SocketAddress } from 'node:net'
import { type AppContext, peerOf } from './env.ts'

/**
 * Whom a request counts for: the network of the socket's peer, or, where that is one of our proxies, of the
 * last hop of `X-Forwarded-For` that is none of them. Everything before that hop is the sender's own word. A
 * hop that is no address ends the way there: the proxy that passed it on counts.
 */
export function createClientAddress(trusted: readonly string[]): (c: AppContext) => string {
  const addressOf = createLastHop(trusted)
  return (c) => networkOf(addressOf(c))
}

/** An IPv4 address, or the /64 of an IPv6 one: whoever has one address of it has them all (RFC 6177). */
function networkOf(address: string): string {
  const [bare = ''] = address.split('%')
  if (isIP(bare) === 0) return address
  const bareAddress = spelled(bare)
  if (isIP(bareAddress) === 4) return bareAddress
  const [leftGroups = [], rightGroups] = bareAddress
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':')))
  const missing = rightGroups === undefined ? 0 : 8 - leftGroups.length - rightGroups.length
  const groups = [...leftGroups, ...Array.from({ length: missing }, () => '0'), ...(rightGroups ?? [])]
  return `${groups.slice(0, 4).join(':')}::/64`
}

/** The /48 of a /64: the most that one customer is commonly given. Undefined for whatever is no /64. */
export function widerNetworkOf(network: string): string | undefined {
  const groups = network.endsWith('::/64') ? network.split(':', 3) : []
  return groups.length === 3 ? `${groups.join(':')}::/48` : undefined
}

function createLastHop(trusted: readonly string[]): (c: AppContext) => string {
  const proxies = new BlockList()
  for (const range of trusted) addRange(proxies, range)
  const isProxy = (address: string): boolean => proxies.check(address, familyOf(address))

  return (c) => {
    let counts = peerOf(c)
    if (trusted.length === 0 || !isPlain(counts)) return counts
    counts = spelled(counts)
    const hops = c.req.header('x-forwarded-for')?.split(',') ?? []
    for (const hop of hops.map((hop) => hop.trim()).reverse()) {
      if (!isProxy(counts) || !isPlain(hop)) return counts
      counts = spelled(hop)
    }
    return counts
  }
}

function addRange(proxies: BlockList, range: string): void {
  const [address = '', prefix] = range.split('/')
  if (prefix === undefined) proxies.addAddress(address, familyOf(address))
  else proxies.addSubnet(address, Number(prefix), familyOf(address))
}

/** An address, of no zone of this machine. */
const isPlain = (address: string): boolean => isIP(address) !== 0 && !address.includes('%')

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4')

/** One spelling of one address; a socket of both families gives IPv4 as `::ffff:…`. */
function spelled(address: string): string {
  if (isIP(address) === 4) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  const [, mapped = ''] = /^::ffff:([\d.]+)$/i.exec(canonical) ?? []
  return isIP(mapped) === 4 ? mapped : canonical
}
