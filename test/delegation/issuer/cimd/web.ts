import { OutboundError, type OutboundReason } from '../../../../src/outbound/error.ts'
import type { GuardedFetch } from '../../../../src/outbound/guarded-fetch.ts'

export interface Web {
  readonly fetch: GuardedFetch
  /** What is at an address: a document, a text, an answer, or why there is none. Absent: 404. */
  readonly at: Map<string, object | string | { readonly status: number } | OutboundReason>
  /** Every address that was asked for. */
  readonly asked: string[]
}

const reasons: readonly string[] = ['unreachable', 'timed_out', 'too_large', 'address_refused', 'broken']

/** The internet as a test has it: what clients put at their addresses. */
export function openWeb(): Web {
  const at: Web['at'] = new Map()
  const asked: string[] = []
  return {
    at,
    asked,
    async fetch(url) {
      asked.push(url)
      const found = at.get(url)
      if (typeof found === 'string' && reasons.includes(found))
        throw new OutboundError(found as OutboundReason, { sent: true })
      const status =
        found === undefined ? 404 : typeof found === 'object' && 'status' in found ? found.status : 200
      const text = typeof found === 'string' ? found : JSON.stringify(found ?? {})
      return { status: Number(status), headers: new Headers(), body: new TextEncoder().encode(text) }
    },
  }
}

export const clientId = 'https://assistant.example/oauth/client.json'
export const redirectUri = 'https://assistant.example/callback'

export const document = (changes: object = {}) => ({
  client_id: clientId,
  client_name: 'Your Bank (official)',
  redirect_uris: [redirectUri],
  grant_types: [
    'authorization_code',
    'urn:ietf:params:oauth:grant-type:token-exchange',
    'client_credentials',
  ],
  token_endpoint_auth_method: 'none',
  scope: 'docs.write agents.write',
  ...changes,
})
