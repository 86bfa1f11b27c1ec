import { timingSafeEqual } from 'node:crypto'
import type { SignedIn } from '../../delegation/people/sign-ins.ts'
import type { AppContext } from '../env.ts'
import type { OwnCookie } from './cookies.ts'

/**
 * Browsers from which accounts signed in lately. Proves nothing: only whose guesses at a password are not a
 * stranger's.
 */
export interface KnownBrowser {
  /**
   * What stands for this account in this browser; undefined where it did not sign in from it in the last 30
   * days, nor since its password was last changed: whoever knew the old one is a stranger.
   */
  of(c: AppContext, user: string): Promise<string | undefined>
  /**
   * The header `Set-Cookie` for a browser from which this account has signed in now. By a password, it is
   * known by that one, even if there is a new one since.
   */
  line(c: AppContext, signedIn: Pick<SignedIn, 'person' | 'proof'>): Promise<string>
}

/** What {@link createKnownBrowser} works with. */
export interface KnownBrowserDeps {
  readonly cookie: OwnCookie
  /** A keyed hash: nobody makes up what it gives. */
  readonly hash: (label: string, value: string) => string
  /** Of an account's password; undefined where it has none. */
  readonly passwordChangedAt: (user: string) => Promise<Date | undefined>
  readonly now: () => number
}

const secondsMax = 30 * 86_400
const accountsMax = 5
const between = '~'

/**
 * Kept in the browser alone: when, of which password, and a keyed hash of both and who, for the last five
 * accounts. No name is in it. The database is asked for marks of ours alone.
 */
export function createKnownBrowser(dependencies: KnownBrowserDeps): KnownBrowser {
  const { cookie, hash, passwordChangedAt, now } = dependencies
  const seconds = (): number => Math.floor(now() / 1_000)
  const markOf = (markedAt: string, changed: string, user: string): string =>
    `${markedAt}.${changed}.${hash('known browser', `${markedAt} ${changed} ${user}`)}`
  const marksOf = (c: AppContext): string[] => (cookie.read(c) ?? '').split(between, accountsMax)
  const changedOf = async (user: string): Promise<string> =>
    ((await passwordChangedAt(user))?.getTime() ?? 0).toString(36)

  function isOf(mark: string, user: string): boolean {
    const [markedAt = '', changed = ''] = mark.split('.', 2)
    const age = seconds() - Number.parseInt(markedAt, 36)
    // Another process, whose clock is a little ahead, may have made it.
    if (!(age > -60 && age < secondsMax)) return false
    const [brought, expected] = [Buffer.from(mark), Buffer.from(markOf(markedAt, changed, user))]
    return brought.length === expected.length && timingSafeEqual(brought, expected)
  }

  return {
    async of(c, user) {
      const mark = marksOf(c).find((ownMark) => isOf(ownMark, user))
      return mark !== undefined && mark.split('.')[1] === (await changedOf(user)) ? mark : undefined
    },
    async line(c, { person: user, proof }) {
      const changed =
        proof !== undefined && 'password' in proof ? proof.password.toString(36) : await changedOf(user)
      const otherMarks = marksOf(c).filter((mark) => mark !== '' && !isOf(mark, user))
      const ownMark = markOf(seconds().toString(36), changed, user)
      return cookie.line([ownMark, ...otherMarks].slice(0, accountsMax).join(between), secondsMax)
    },
  }
}
