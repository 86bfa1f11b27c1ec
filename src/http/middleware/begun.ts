import { AppError } from '../../kernel/errors.ts'
import { type AppContext, addressOf } from '../env.ts'
import { temporarilyUnavailable } from '../temporarily-unavailable.ts'
import { createAddressLimits, type LimitsOptions } from './limits.ts'

/** Counts one that is begun. The answer to one too many, in this form; undefined: go on. */
export type BegunLimit = (c: AppContext, form: 'page' | 'json') => Response | undefined

/**
 * Each of these keeps a row for minutes before anybody has proven anything; `/device` takes guesses at codes,
 * and `/backchannel` at people.
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
 * Bounds how much one address begins before it has proven anything: authorization requests, pushed ones,
 * device codes, sign-ins elsewhere. A 429 (RFC 9126 §2.3) in OAuth's form, a page for a browser.
 */
export function createBegunLimit(options: LimitsOptions): BegunLimit {
  const limits = createAddressLimits(options)
  return (c, form) => {
    try {
      limits.take(addressOf(c))
      return undefined
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'rate_limited') throw error
      return temporarilyUnavailable(c, { form, status: 429, detail: tooMany, headers: error.headers })
    }
  }
}

/** Whether a place below `/oauth` begins something, and what its clients read. */
export const begunAt = (inside: string): 'page' | 'json' | undefined => counted.get(spelling(inside))

/** As the library finds its routes: in any case, and perhaps more loosely one day. */
function spelling(inside: string): string {
  const [path = ''] = inside.split('?', 1)
  const spelled = decoded(path).toLowerCase()
  // Not by an expression: it would begin anew at each of thousands of slashes.
  let length = spelled.length
  while (spelled[length - 1] === '/') length -= 1
  return spelled.slice(0, length)
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
