import { isSafe } from '../shared/fetch-json.ts'
import { type PlatformOptions, platformOf } from '../shared/platform.ts'
import type { Ciba } from '../tokens/ciba.ts'
import type { DeviceFlow } from '../tokens/device.ts'
import type { Person, TokenSource } from '../tokens/token.ts'
import { createApi } from './api.ts'
import { createSession, type Session } from './session.ts'

/** Settings of `createRemit` for one agent at one service. */
export interface RemitOptions extends PlatformOptions {
  /** Of the service: its PUBLIC_URL, exactly. */
  readonly url: string
  /** Where the agent's tokens come from; it is who the agent is. */
  readonly token: TokenSource
  /** Needed for `withApproval`: of the same agent. */
  readonly ciba?: Ciba
  /** Needed for `withDeviceFlow`: a client that stands for the same agent. */
  readonly device?: DeviceFlow
  /** Milliseconds that a call may take, its retries included. Default 30,000. */
  readonly timeoutMs?: number
  /** Of the tokens that serve reading. Default `docs.search docs.read`. */
  readonly scopes?: readonly string[]
}

/** One agent at one service. */
export interface Remit {
  /** The agent, working for this person from here on. Cheap: one for each conversation, or each request. */
  for(person: Person): Session
}

/** One agent's way to the service. Nothing is sent before a session asks. */
export function createRemit(options: RemitOptions): Remit {
  const {
    token: source,
    ciba,
    device,
    timeoutMs = 30_000,
    scopes: readScopes = ['docs.search', 'docs.read'],
  } = options
  // Of JavaScript, or a setting that is not there.
  if (typeof options.url !== 'string')
    throw new TypeError('createRemit needs `url`: the service’s PUBLIC_URL.')
  const url = options.url.replace(/\/$/, '')
  if (!isSafe(url)) throw new TypeError(`${url} has to be an https URL, or http on loopback.`)
  const platform = platformOf(options)
  const api = createApi({ url, source, platform, timeoutMs, readScopes })
  return {
    for(person) {
      if (person.subject === '') throw new TypeError('A person has a subject.')
      return createSession(Object.freeze({ ...person }), { api, source, ciba, device, platform })
    },
  }
}
