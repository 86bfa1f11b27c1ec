import { createHash } from 'node:crypto'
import { canonicalJson, type ForeignDetail } from '../registry/details.ts'
import type { VaultCall } from '../vault/call.ts'

/**
 * What is asked. All ids are resolved by us, and a body is held to the digest that is approved: nothing in it
 * is the agent's word.
 */
export type RequestedAccess = AccessTarget & {
  /** Of the token that a yes gives. None where it gives none: to what is asked by REST. */
  readonly scopes: readonly string[]
  /** The API whose token it is. None where it gives none. */
  readonly resource?: string
}

/** Exactly one kind of access, each with ids that Remit resolved itself. */
export type AccessTarget =
  | {
      /** Documents that an offer stands for, for the question that it was made for. */
      readonly kind: 'documents'
      readonly offer: string
      readonly documentIds: readonly string[]
      readonly queryHmac: string
    }
  | {
      readonly kind: 'vault_call'
      readonly call: VaultCall
      /** Name of the provider. */
      readonly provider: string
      /**
       * The very text that would be sent, where the agent shows it. Forgotten as soon as the question is
       * over.
       */
      readonly body?: string
    }
  | {
      /** A token for an API. */
      readonly kind: 'access'
      readonly resource: string
      readonly details: readonly ForeignDetail[]
      readonly collections?: readonly string[]
    }

/**
 * What a yes to one thing takes to be used, and all that a token for it holds: an offer is redeemed by
 * `POST /retrieve`, a call by `POST /vault/fetch`.
 */
export const scopeOfApproved = { documents: 'docs.search', vault_call: 'vault.use' } as const

/** How long the token that comes of a yes counts, at most. */
export const tokenSeconds = 300

/** Equal for equal questions: each offer has an id of its own, whatever it stands for. */
export const digestOfAccess = (access: RequestedAccess): string => digest(canonicalJson(comparable(access)))

/**
 * What a person has said no to, as a part of what was asked: `asked @> matter` holds for the same question,
 * for the same documents by other words, and for fewer of them.
 */
export function comparedPartOf(access: RequestedAccess): object {
  if (access.kind === 'documents') return { kind: access.kind, documentIds: access.documentIds }
  if (access.kind === 'vault_call') return { kind: access.kind, call: access.call }
  // A narrower question in the words of one who has just been refused would be another one each time.
  const { collections: _, ...compared } = access
  return compared
}

/** sha256, base64url. */
export const digest = (text: string): string => createHash('sha256').update(text).digest('base64url')

function comparable(access: RequestedAccess): object {
  if (access.kind !== 'documents') return access
  const { offer: _, documentIds, ...compared } = access
  return { ...compared, documentIds: [...documentIds].sort() }
}
