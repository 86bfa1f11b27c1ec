import { BlockList, isIP } from 'node:net'

/**
 * Whether an address, as the system resolved it, is somebody's on the public internet: IANA's special-purpose
 * registries (RFC 6890) read as an allow-list. Of IPv6 only global unicast (2000::/3) may be, so that
 * everything that is not handed out (unspecified, loopback, link-local, unique local, multicast, v4-mapped,
 * v4-compatible, local NAT64) is refused without being listed. An address that carries an IPv4 address (6to4,
 * Teredo) is refused whatever it carries; of NAT64's well-known prefix, by which an IPv6-only host reaches
 * IPv4, the carried one decides. NOT checked: whether a public address is one of our own machines. That is
 * the firewall's to know.
 */
export function isPublicAddress(address: string): boolean {
  // A zone (fe80::1%eth0) exists for link-local addresses only.
  const family = address.includes('%') ? 0 : isIP(address)
  if (family === 4) return !special4.check(address, 'ipv4')
  if (family !== 6) return false
  const carried = throughNat64(address)
  if (carried !== undefined) return isPublicAddress(carried)
  return globalUnicast.check(address, 'ipv6') && !special6.check(address, 'ipv6')
}

const special4 = ranges('ipv4', [
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // shared by a carrier's customers; 100.100.100.200 is a cloud's metadata
  ['127.0.0.0', 8], // loopback
  ['168.63.129.16', 32], // Azure's metadata, though its range is public
  ['169.254.0.0', 16], // link-local; 169.254.169.254 is metadata nearly everywhere
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocol assignments; 192.0.0.192 is a cloud's metadata
  ['192.0.2.0', 24], // documentation
  ['192.31.196.0', 24], // AS112
  ['192.52.193.0', 24], // multicast relays
  ['192.88.99.0', 24], // relays of 6to4
  ['192.168.0.0', 16], // private
  ['192.175.48.0', 24], // AS112
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, and broadcast
])

const globalUnicast = ranges('ipv6', [['2000::', 3]])

const special6 = ranges('ipv6', [
  ['2001::', 23], // protocol assignments: Teredo, benchmarks, ORCHID
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4
  ['2620:4f:8000::', 48], // AS112
  ['3fff::', 20], // documentation
])

const nat64 = ranges('ipv6', [['64:ff9b::', 96]])

function ranges(
  family: 'ipv4' | 'ipv6',
  subnets: readonly (readonly [network: string, bits: number])[],
): BlockList {
  const list = new BlockList()
  for (const [network, bits] of subnets) list.addSubnet(network, bits, family)
  return list
}

/** The IPv4 address in one of RFC 6052's well-known prefix: its last 32 bits. */
function throughNat64(address: string): string | undefined {
  if (!nat64.check(address, 'ipv6')) return undefined
  // URL spells every IPv6 address in one way, without dots: `[64:ff9b::a00:1]`.
  const [low = '', high = '0'] = new URL(`http://[${address}]`).hostname.slice(1, -1).split(':').reverse()
  const groups = [high, low].map((group) => Number.parseInt(group === '' ? '0' : group, 16))
  return groups.flatMap((group) => [group >> 8, group & 0xff]).join('.')
}
