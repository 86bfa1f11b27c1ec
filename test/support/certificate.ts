import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

export interface Certificate {
  readonly key: string
  readonly cert: string
}

/**
 * A certificate for these names that signs itself (RFC 5280): valid for a day, trusted by whoever is given
 * it.
 */
export const certificateFor = (...names: readonly string[]): Certificate =>
  certificateOf({ subject: 'test', extensions: [alternative(names.map(dns))] })

/** What a certificate is for: names of hosts, addresses (IPv4), URIs. */
export interface Alternatives {
  readonly hosts?: readonly string[]
  readonly addresses?: readonly string[]
  readonly uris?: readonly string[]
}

/** An authority that signs certificates, all of them valid for a day. */
export function createAuthority(): { readonly cert: string; issue(to: Alternatives): Certificate } {
  const isAuthority = extension('551d13', sequence(der(0x01, Buffer.from([0xff]))))
  const issuer = { name: 'an authority', ...keyPair() }
  const { cert } = certificateOf({ subject: issuer.name, extensions: [isAuthority], issuer, pair: issuer })
  return {
    cert,
    issue: ({ hosts = [], addresses = [], uris = [] }) =>
      certificateOf({
        subject: 'test',
        issuer,
        extensions: [
          alternative([
            ...hosts.map(dns),
            ...uris.map((uri) => der(0x86, Buffer.from(uri))),
            ...addresses.map((address) => der(0x87, Buffer.from(address.split('.').map(Number)))),
          ]),
        ],
      }),
  }
}

const keyPair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })

interface CertificateParts {
  readonly subject: string
  readonly extensions: readonly Buffer[]
  readonly pair?: ReturnType<typeof keyPair>
  /** Default: it signs itself. */
  readonly issuer?: { readonly name: string; readonly privateKey: KeyObject }
}

function certificateOf({ subject, extensions, pair = keyPair(), issuer }: CertificateParts): Certificate {
  const { publicKey, privateKey } = pair
  const algorithm = sequence(oid('2a8648ce3d040302')) // ecdsa-with-SHA256
  const now = Date.now()
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))), // version 3
    der(0x02, Buffer.from([1, ...randomBytes(8)])),
    algorithm,
    name(issuer?.name ?? subject),
    sequence(time(now - 3_600_000), time(now + 86_400_000)),
    name(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', signed, issuer?.privateKey ?? privateKey)
  const whole = sequence(signed, algorithm, der(0x03, Buffer.from([0]), signature))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${whole
      .toString('base64')
      .match(/.{1,64}/g)
      ?.join('\n')}\n-----END CERTIFICATE-----\n`,
  }
}

const name = (text: string): Buffer =>
  sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(text)))))
const extension = (id: string, content: Buffer): Buffer => sequence(oid(id), der(0x04, content))
const alternative = (names: readonly Buffer[]): Buffer => extension('551d11', sequence(...names))
const dns = (host: string): Buffer => der(0x82, Buffer.from(host))

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...contents: readonly Buffer[]): Buffer => der(0x30, ...contents)
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'))
const time = (at: number): Buffer =>
  der(0x18, Buffer.from(`${new Date(at).toISOString().replaceAll(/[-:T]|\.\d+/g, '')}`))
