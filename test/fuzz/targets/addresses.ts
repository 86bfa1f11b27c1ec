import assert from 'node:assert/strict'
import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { inCidr, parseAddress } from '../../../packages/engine/src/core/ip.ts'
import { textOf } from '../oracles.ts'

/** Two lines, an address and a range: as Node's own list of blocked ranges answers. */
export function fuzz(bytes: Uint8Array): void {
  const [text = '', range = ''] = textOf(bytes).split('\n')
  const address = parseAddress(text)
  const [plain = ''] = text.split('%')
  const isZone = text.slice(plain.length) !== '%'
  assert.equal(address !== undefined, isIPv4(text) || (isIPv6(plain) && isZone), text)
  if (address === undefined) return
  assert.equal(parseAddress(address.text)?.text, address.text)
  const isInside = inCidr(text, range)
  const [network = '', length = ''] = range.split('/')
  const family = isIPv4(network) ? 'ipv4' : 'ipv6'
  // How IPv4 within IPv6 and how zones count is OpenFGA's own: its server is asked elsewhere.
  if (isInside === undefined || isIPv4(text) !== (family === 'ipv4')) return
  if (family === 'ipv6' && /%|\./.test(`${address.text}${network}${text}`)) return
  const list = new BlockList()
  list.addSubnet(network, Number(length), family)
  assert.equal(isInside, list.check(text, family), `${text} in ${range}`)
}
