import { createHash } from 'node:crypto'
import { shownBodyMax } from '@remit/contract/vault-schemas'
import { z } from 'zod'
import { canonicalJson } from '../registry/details.ts'

/** One call to a third party. A grant is for exactly one of them. */
export interface VaultCall {
  /** Id of the connection once it is resolved; as an agent asks, the provider's name. */
  readonly connection: string
  readonly method: string
  /** With its query, in its one spelling: see path.ts. */
  readonly path: string
  readonly contentType?: string
  /** Of the body's bytes: see {@link digestOfBody}. */
  readonly bodyDigest?: string
}

/** Of those, the ones that may have a body. */
export const hasBody = (method: string): boolean => method !== 'GET' && method !== 'HEAD'

/** As a person can be shown it; undefined where it is no text, or too long. */
export function shownBody(body: Uint8Array | undefined): string | undefined {
  if (body === undefined || body.byteLength === 0 || body.byteLength > 3 * shownBodyMax) return undefined
  const text = utf8Of(body)
  return text === undefined || text.length > shownBodyMax || text.includes('\0') ? undefined : text
}

/** The text that bytes are in UTF-8, to the byte; undefined where they are none. */
export function utf8Of(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const charsets = /^"?(utf-8|us-ascii)"?$/i

/** RFC 9110 §8.3, without anything that two readers could read in two ways. */
export const contentType = z
  .string()
  .max(200)
  .regex(/^[\w.+-]+\/[\w.+-]+( ?; ?[\w-]+=([\w.+'-]+|"[\w .+'()?:=/-]*"))*$/, 'is no media type')
  // The person is shown the body as UTF-8; in another charset the API would read something else in it.
  .refine(
    (type) => [...type.matchAll(/; ?charset=([^ ;]*)/gi)].every(([, name = '']) => charsets.test(name)),
    'may name no charset but utf-8',
  )

/** One text for one call, by which a grant and a call are compared. */
export const vaultCallText = ({
  connection,
  method,
  path,
  contentType: type,
  bodyDigest,
}: VaultCall): string =>
  canonicalJson({
    connection,
    method,
    path,
    content_type: type ?? null,
    body_digest: bodyDigest ?? null,
  })

/** sha256 in base64url; undefined for no bytes at all, which is no body. */
export const digestOfBody = (body: Uint8Array | undefined): string | undefined =>
  body === undefined || body.byteLength === 0
    ? undefined
    : createHash('sha256').update(body).digest('base64url')

/**
 * On record without the query, which may hold what somebody searched for; the digest says whether it was that
 * call.
 */
export const recordedCall = (call: VaultCall) => ({
  connection: call.connection,
  method: call.method,
  path: call.path.split('?')[0] ?? '',
  call_digest: createHash('sha256').update(vaultCallText(call)).digest('base64url'),
})
