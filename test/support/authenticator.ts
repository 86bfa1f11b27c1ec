import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isoCBOR } from '@simplewebauthn/server/helpers'

/** What an honest device would never do. */
export interface Bent {
  readonly origin?: string
  readonly rpId?: string
  readonly userVerified?: boolean
  readonly userPresent?: boolean
  /** Default: one more than the last. */
  readonly counter?: number
  readonly userHandle?: string
  readonly type?: string
  readonly crossOrigin?: boolean
  readonly backupEligible?: boolean
  /** Signs for this id in place of its own. */
  readonly credentialId?: Buffer
  /** Signs with this key instead. */
  readonly key?: KeyObject
}

/** One passkey in software: answers like a browser's `toJSON()`, honestly unless bent. */
export interface Authenticator {
  readonly id: string
  readonly key: KeyObject
  make(
    options: { readonly challenge: string; readonly user: { readonly id: string } },
    bent?: Bent,
  ): Attestation
  answer(options: { readonly challenge: string }, bent?: Bent): Assertion
}

interface Credential<Response> {
  readonly id: string
  readonly rawId: string
  readonly type: 'public-key'
  readonly clientExtensionResults: object
  readonly response: Response
}
export type Attestation = Credential<{
  clientDataJSON: string
  attestationObject: string
  transports: string[]
}>
export type Assertion = Credential<{
  clientDataJSON: string
  authenticatorData: string
  signature: string
  userHandle: string
}>

export function createAuthenticator(publicUrl: string): Authenticator {
  const { origin, hostname } = new URL(publicUrl)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const id = randomBytes(32)
  let counter = 0
  let owner = ''

  const clientData = (type: string, challenge: string, bent: Bent) =>
    Buffer.from(
      JSON.stringify({
        type: bent.type ?? type,
        challenge,
        origin: bent.origin ?? origin,
        crossOrigin: bent.crossOrigin ?? false,
      }),
    )

  function authenticatorData(bent: Bent, attested: Buffer = Buffer.alloc(0)): Buffer {
    counter = bent.counter ?? counter + 1
    const flags =
      (bent.userPresent === false ? 0 : 1) |
      (bent.userVerified === false ? 0 : 4) |
      (bent.backupEligible === true ? 8 : 0) |
      (attested.length > 0 ? 64 : 0)
    const count = Buffer.alloc(4)
    count.writeUInt32BE(counter)
    return Buffer.concat([sha256(bent.rpId ?? hostname), Buffer.from([flags]), count, attested])
  }

  const credential = <Response>(response: Response): Credential<Response> => ({
    id: plain(id),
    rawId: plain(id),
    type: 'public-key',
    clientExtensionResults: {},
    response,
  })

  return {
    id: plain(id),
    key: privateKey,
    make({ challenge, user }, bent = {}) {
      owner = user.id
      const length = Buffer.alloc(2)
      const { credentialId = id } = bent
      length.writeUInt16BE(credentialId.length)
      const attested = Buffer.concat([Buffer.alloc(16), length, credentialId, coseKey(publicKey)])
      const object = new Map<string, unknown>([
        ['fmt', 'none'],
        ['attStmt', new Map()],
        ['authData', new Uint8Array(authenticatorData(bent, attested))],
      ])
      return credential({
        clientDataJSON: plain(clientData('webauthn.create', challenge, bent)),
        attestationObject: plain(isoCBOR.encode(object as never)),
        transports: ['internal', 'telepathy'],
      })
    },
    answer({ challenge }, bent = {}) {
      const data = authenticatorData(bent)
      const json = clientData('webauthn.get', challenge, bent)
      const signature = sign('sha256', Buffer.concat([data, sha256(json)]), bent.key ?? privateKey)
      return credential({
        clientDataJSON: plain(json),
        authenticatorData: plain(data),
        signature: plain(signature),
        userHandle: bent.userHandle ?? owner,
      })
    },
  }
}

function coseKey(key: KeyObject): Buffer {
  const { x = '', y = '' } = key.export({ format: 'jwk' })
  const members = new Map<number, unknown>([
    [1, 2],
    [3, -7],
    [-1, 1],
    [-2, new Uint8Array(Buffer.from(x, 'base64url'))],
    [-3, new Uint8Array(Buffer.from(y, 'base64url'))],
  ])
  return Buffer.from(isoCBOR.encode(members as never))
}

const sha256 = (data: string | Uint8Array): Buffer => createHash('sha256').update(data).digest()
const plain = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
