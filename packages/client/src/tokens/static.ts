import { WrongPerson } from '../errors/kinds.ts'
import { AccessToken, type TokenSource } from './token.ts'

/** Settings of `staticToken`: one token of one person. */
export interface StaticTokenOptions {
  /** Whose it is: for anybody else there is none. */
  readonly subject: string
  readonly token: string
  /** What the agent is called in errors and logs of yours. Default `static`. */
  readonly agent?: string
}

/** A token from elsewhere, for one person, used as it is until it is refused: for scripts and trials. Bearer only. */
export function staticToken({ subject, token, agent = 'static' }: StaticTokenOptions): TokenSource {
  return {
    agent,
    async get({ person, audience, scopes }) {
      if (person.subject !== subject)
        throw new WrongPerson('wrong_person', { message: 'The token is for somebody else.' }, {})
      return new AccessToken(token, {
        subject,
        audience,
        scopes,
        details: [],
        expiresAt: Number.MAX_SAFE_INTEGER,
      })
    },
    // There is no other one to give.
    drop: async () => undefined,
  }
}
