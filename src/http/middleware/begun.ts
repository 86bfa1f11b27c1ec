import { AppError } from '../../kernel/errors.ts'
import { type AppContext, addressOf } from '../env.ts'
import { temporarilyUnavailable } from '../temporarily-unavailable.ts'
import { createLimits } from './limits.ts'

export interface BegunLimitDeps {
  /** Of one network address. */
  readonly perMinute: number
  readonly now: () => number
}

/** The answer to one request too many at this place below `/oauth`; undefined: go on. */
export type BegunLimit = (c: AppContext, inside: string) => Response | Promise<Response> | undefined

/**
 * Each of these keeps a row for minutes before anybody has proven anything; `/device` takes guesses at codes, and
 * `/backchannel` at people.
 */
const counted: ReadonlyMap<string, 'page' | 'json'> = new Map([
  ['/auth', 'page'],
  ['/backchannel', 'json'],
  ['/device', 'page'],
  ['/device/auth', 'json'],
  ['/request', 'json'],
])

const tooMany = 'This address began too many requests. Wait, then try again.'

/**
 * Bounds how much one address begins at the authorization server: authorization requests, pushed ones, device codes.
 * A 429 (RFC 9126 §2.3) in OAuth's form, a page for a browser.
 */
export function createBegunLimit(deps: BegunLimitDeps): BegunLimit {
  const limits = createLimits(deps)
  return (c, inside) => {
    const form = counted.get(spelling(inside))
    if (form === undefined) return undefined
    try {
      limits.take(addressOf(c))
      return undefined
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'rate_limited') throw error
      return temporarilyUnavailable(c, { form, status: 429, detail: tooMany, headers: error.headers })
    }
  }
}

/** As the library finds its routes: in any case, and perhaps more loosely one day. */
function spelling(inside: string): string {
  const [path = ''] = inside.split('?')
  try {
    return decodeURIComponent(path).toLowerCase().replace(/\/+$/, '')
  } catch {
    return path
  }
}
