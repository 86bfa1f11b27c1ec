import { timingSafeEqual } from 'node:crypto'
import type { AppContext } from '../env.ts'
import type { OwnCookie } from './cookies.ts'

/** Browsers from which accounts signed in lately. Proves nothing: only whose guesses at a password are not a stranger's. */
export interface KnownBrowser {
  /** What stands for this account in this browser; undefined where it did not sign in from it in the last 30 days. */
  of(c: AppContext, user: string): string | undefined
  /** The header `Set-Cookie` for a browser from which this account has signed in now. */
  line(c: AppContext, user: string): string
}

export interface KnownBrowserDeps {
  readonly cookie: OwnCookie
  /** A keyed hash: nobody makes up what it gives. */
  readonly hash: (label: string, value: string) => string
  readonly now: () => number
}

const secondsMax = 30 * 86_400
const accountsMax = 5
const between = '~'

/** Kept in the browser alone: when, and a keyed hash of when and who, for the last five accounts. No name is in it. */
export function createKnownBrowser({ cookie, hash, now }: KnownBrowserDeps): KnownBrowser {
  const seconds = (): number => Math.floor(now() / 1_000)
  const markOf = (at: string, user: string): string => `${at}.${hash('known browser', `${at} ${user}`)}`
  const marksOf = (c: AppContext): string[] => (cookie.read(c) ?? '').split(between, accountsMax)

  function isOf(mark: string, user: string): boolean {
    const [at = ''] = mark.split('.', 1)
    const age = seconds() - Number.parseInt(at, 36)
    // Another process, whose clock is a little ahead, may have made it.
    if (!(age > -60 && age < secondsMax)) return false
    const [brought, made] = [Buffer.from(mark), Buffer.from(markOf(at, user))]
    return brought.length === made.length && timingSafeEqual(brought, made)
  }

  return {
    of: (c, user) => marksOf(c).find((mark) => isOf(mark, user)),
    line(c, user) {
      const others = marksOf(c).filter((mark) => mark !== '' && !isOf(mark, user))
      const marks = [markOf(seconds().toString(36), user), ...others].slice(0, accountsMax)
      return cookie.line(marks.join(between), secondsMax)
    },
  }
}
