import { record } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { readRows } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import type { Lender } from '../lending/own-delegations.ts'
import type { SignInEnds } from '../people/sign-in-ends.ts'
import { atPages } from '../people/sign-ins.ts'
import type { Agent, Agents } from '../registry/agents.ts'
import { agentIdOf, isOurs } from '../registry/resources.ts'

/** One program that gets tokens for a person, by one consent of theirs: as them, or as an agent for them. */
export interface OwnProgram {
  /** Of the consent, as its tokens carry it (`grant_id`). Opens nothing. */
  readonly id: string
  readonly clientId: string
  readonly title: string
  /** As whom it reads for the person; undefined: as the person, or not at all: see `handsTo`. */
  readonly agent: string | undefined
  /** Another's API that its tokens are for; undefined: one of Remit's own. */
  readonly elsewhere: string | undefined
  /**
   * The agent to which it hands its tokens, which open nothing by themselves; undefined: it uses them itself.
   */
  readonly handsTo: Pick<Agent, 'id' | 'title'> | undefined
  /** What it reads under. */
  readonly delegation: string | undefined
  /** Ending the consent takes `delegation` back: it was lent by it. */
  readonly lends: boolean
  /** When the person signed in for it. */
  readonly signedInAt: Date
  readonly expiresAt: Date
}

/** What one person let programs do. Nobody else's consent is there for them. */
export interface OwnPrograms {
  /** Those that get tokens now, the newest sign-in first. */
  list(person: string): Promise<OwnProgram[]>
  /**
   * Its codes, refresh tokens and access tokens, and what was lent by it, in one transaction that is on
   * record; in force with the next request. 404 where no such one of theirs counts. NOT ended: an access
   * token that another's API holds and asks nobody about, for its last 5 minutes.
   */
  end(recordedAs: Pick<Lender, 'person' | 'txn'>, id: string): Promise<void>
}

export interface OwnProgramsDeps extends Pick<Runtime, 'database' | 'publicUrl' | 'clock'> {
  readonly delegations: Pick<Delegations, 'revokeWithin'>
  readonly signInEnds: Pick<SignInEnds, 'grant'>
  /** For which API this consent was given; undefined: there is none. */
  readonly consentedAt: (grantId: string) => Promise<string | undefined>
  readonly agents: Pick<Agents, 'get'>
}

/** Lists and ends the programs that one person let in. Does NOT check that the caller is that person. */
export function createOwnPrograms(deps: OwnProgramsDeps): OwnPrograms {
  const { database, delegations, signInEnds, clock } = deps
  const now = () => new Date(clock.now())
  return {
    async list(person) {
      const rows = await readRows<Program>(database, select, [person, now()])
      return Promise.all(rows.map(async (row) => ({ ...row, ...(await usedAt(row.id, deps)) })))
    },
    async end({ person, txn }, id) {
      const recordedAs = atPages(person, txn)
      const settle = await database.transaction(async (sql) => {
        const ofThis = `select * from (${select}) as own where id = $3`
        const [program] = await readRows<Program>(sql, ofThis, [person, now(), id])
        if (program === undefined) throw new AppError('not_found')
        const { clientId, delegation, lends } = program
        // What was lent first, and rows before links, as whoever ends a delegation takes them.
        const remaining =
          delegation !== undefined && lends
            ? await delegations.revokeWithin(sql, delegation, recordedAs)
            : undefined
        await signInEnds.grant(sql, id)
        await record(sql, recordedAs, { event: 'consent_ended', client: clientId, grant: id })
        return remaining
      })
      await settle?.()
    },
  }
}

/** Named as on the page where the consent was given. */
async function usedAt(
  grant: string,
  { consentedAt, agents, publicUrl }: OwnProgramsDeps,
): Promise<Pick<OwnProgram, 'elsewhere' | 'handsTo'>> {
  const resource = (await consentedAt(grant)) ?? publicUrl
  const id = agentIdOf(resource, publicUrl)
  const handsTo = id === undefined ? undefined : ((await agents.get(id)) ?? { id, title: id })
  return { elsewhere: isOurs(resource, publicUrl) ? undefined : resource, handsTo }
}

// A grant whose delegation is over gives no token, and is over.
const select = `select g.grant_id as id, g.client_id as "clientId", coalesce(c.title, g.client_id) as title, c.agent,
    g.delegation, g.lends, g.signed_in_at as "signedInAt", g.expires_at as "expiresAt"
  from oauth_grants g join clients c using (client_id)
  where g.subject = $1 and g.expires_at > $2 and (g.delegation is null or exists (
    select from delegations d where d.id = g.delegation and d.state = 'live' and d.expires_at > $2))
  order by g.signed_in_at desc, g.grant_id`

type Program = Omit<OwnProgram, 'elsewhere' | 'handsTo'>
