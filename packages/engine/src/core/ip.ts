/** An IP address as bits. IPv4-mapped IPv6 addresses are unmapped, so that they match IPv4 ranges. */
export interface Address {
  readonly bits: 32 | 128
  readonly value: bigint
  /** One spelling per address (with its zone), so that equal addresses are equal strings. */
  readonly text: string
}

/** Go's netip.ParseAddr followed by Unmap; undefined where Go answers an error. */
export function parseAddress(text: string): Address | undefined {
  const zoneAt = text.indexOf('%')
  const zone = zoneAt === -1 ? '' : text.slice(zoneAt)
  const bare = zoneAt === -1 ? text : text.slice(0, zoneAt)
  if (!bare.includes(':')) {
    const four = zone === '' ? parseFour(bare) : undefined
    return four === undefined ? undefined : address(32, four, '')
  }
  const six = zone === '%' ? undefined : parseSix(bare)
  if (six === undefined) return undefined
  return six >> 32n === 0xffffn ? address(32, six & 0xffffffffn, '') : address(128, six, zone)
}

/** Whether the address lies in the CIDR range; undefined when the range is malformed. */
export function inCidr(addressText: string, cidr: string): boolean | undefined {
  const slash = cidr.lastIndexOf('/')
  const length = cidr.slice(slash + 1)
  const network = parseAddress(cidr.slice(0, Math.max(0, slash)))
  if (network === undefined || cidr.includes('%') || !/^(0|[1-9]\d{0,2})$/.test(length)) return undefined
  const addressBits = cidr.slice(0, slash).includes(':') ? 128 : 32
  if (Number(length) > addressBits) return undefined
  const found = parseAddress(addressText)
  if (found === undefined) return undefined
  const mapped = addressBits === 128 && network.bits === 32
  if (mapped && Number(length) < 96)
    return (
      found.bits === 128 &&
      !found.text.includes('%') &&
      found.value >> BigInt(128 - Number(length)) === (0xffffn << 32n) >> BigInt(128 - Number(length))
    )
  const bits = mapped ? Number(length) - 96 : Number(length)
  if (found.bits !== network.bits || found.text.includes('%')) return false
  const shift = BigInt(network.bits - bits)
  return found.value >> shift === network.value >> shift
}

function parseFour(text: string): bigint | undefined {
  const octets = text.split('.')
  if (
    octets.length !== 4 ||
    !octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256)
  )
    return undefined
  return octets.reduce((sum, octet) => sum * 256n + BigInt(octet), 0n)
}

function parseSix(text: string): bigint | undefined {
  const halves = text.split('::')
  // Four octets may only end the whole of it.
  if (halves.length > 2 || (halves.length === 2 && halves[0]?.includes('.'))) return undefined
  const groups = halves.map((half) => (half === '' ? [] : toGroups(half)))
  if (groups.includes(undefined)) return undefined
  const [head = [], tail = []] = groups
  const count = head.length + tail.length
  if (halves.length === 1 ? count !== 8 : count > 7) return undefined
  const allGroups = [...head, ...Array<number>(8 - count).fill(0), ...tail]
  return allGroups.reduce((sum, group) => sum * 65536n + BigInt(group), 0n)
}

function toGroups(half: string): number[] | undefined {
  const hexGroups = half.split(':')
  const lastGroup = hexGroups.at(-1) ?? ''
  const four = lastGroup.includes('.') ? parseFour(lastGroup) : undefined
  if (lastGroup.includes('.') && four === undefined) return undefined
  const plainGroups = four === undefined ? hexGroups : hexGroups.slice(0, -1)
  if (!plainGroups.every((hexGroup) => /^[0-9a-fA-F]{1,4}$/.test(hexGroup))) return undefined
  const groups = plainGroups.map((hexGroup) => Number.parseInt(hexGroup, 16))
  return four === undefined ? groups : [...groups, Number(four >> 16n), Number(four & 0xffffn)]
}

const address = (bits: 32 | 128, value: bigint, zone: string): Address => ({
  bits,
  value,
  text: bits === 32 ? fourText(value) : sixText(value) + zone,
})

const fourText = (value: bigint): string =>
  [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.')

const sixText = (value: bigint): string =>
  Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':')
