import { record } from '../../audit/record.ts'
import type { Runtime } from '../../store/runtime.ts'
import { consoleClient } from '../registry/clients.ts'
import type { SignInEnds } from './sign-in-ends.ts'

/** Ends a person's sign-in to the console, whole or not at all, and on record. */
export type ConsoleSignOut = (person: string) => Promise<void>

export interface ConsoleSignOutDeps extends Pick<Runtime, 'database' | 'newTxn'> {
  readonly signInEnds: Pick<SignInEnds, 'program'>
}

/**
 * Its tokens in every tab, and the authorization server's sessions: a page that is opened again would be
 * signed in by those without asking. Does NOT check who asks.
 */
export const createConsoleSignOut =
  ({ database, signInEnds, newTxn }: ConsoleSignOutDeps): ConsoleSignOut =>
  (person) =>
    database.transaction(async (sql) => {
      await signInEnds.program(sql, person, consoleClient)
      const recordedAs = {
        subject: `user:${person}`,
        actors: [],
        client: consoleClient,
        txn: newTxn(),
      } as const
      await record(sql, recordedAs, { event: 'signed_out' })
    })
