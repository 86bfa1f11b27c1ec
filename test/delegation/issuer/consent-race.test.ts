import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createConsents } from '../../../src/delegation/oauth/consents.ts'
import { createAccountLinks } from '../../../src/delegation/people/links.ts'
import { createPasskeys } from '../../../src/delegation/people/passkeys.ts'
import { createPasswords } from '../../../src/delegation/people/passwords.ts'
import { createPeople } from '../../../src/delegation/people/people.ts'
import { createSessions } from '../../../src/delegation/people/sessions.ts'
import { createSignInEnds } from '../../../src/delegation/people/sign-in-ends.ts'
import { createSignInValidity, type Proof } from '../../../src/delegation/people/sign-in-validity.ts'
import { systemClock } from '../../../src/kernel/clock.ts'
import { createSeal } from '../../../src/store/encryption.ts'
import type { Sql } from '../../../src/store/sql.ts'
import { openTestDatabase } from '../../support/database.ts'
import { needsPostgres } from '../../support/native.ts'

const account = { issuer: 'https://idp.test', sub: 'a-1' }
const recordedAs = { subject: 'user:anne', actors: [], client: 'remit-pages', txn: 't_1' } as const
const consent = { resource: 'https://remit.test', scope: 'docs.search', txn: 't_2' }
const rounds = 60

test(
  'a consent given while its link is being ended never stays behind, whichever comes first',
  needsPostgres,
  async () => {
    await using database = await openTestDatabase('postgres')
    await createPeople({ sql: database }).save({ key: 'anne', name: 'Anne' })
    await database.query(`insert into clients (client_id, kind) values ('app', 'person')`)
    const delegations = {
      revoke: () => Promise.reject(new Error('Nothing was lent here.')),
      revokeWithin: () => Promise.reject(new Error('Nothing was lent here.')),
    }
    const clock = systemClock
    const links = createAccountLinks({ database, delegations, clock })
    const signInValidity = createSignInValidity({
      trustedIssuers: [{ issuer: account.issuer, namespace: 'up' }],
      clock,
    })
    const grants = createConsents({ database, delegations, signInValidity: signInValidity, clock })
    for (let round = 0; round < rounds; round += 1) {
      await links.link({ ...account, person: 'anne' }, recordedAs)
      const grantId = `g${round}`
      const [saved] = await Promise.allSettled([
        grants.save(
          {
            grantId,
            clientId: 'app',
            subject: 'anne',
            delegation: undefined,
            signedInAt: new Date(clock.now()),
            amr: [],
            upstream: account,
            expiresAt: new Date(clock.now() + 60_000),
          },
          consent,
        ),
        links.unlink({ ...account, person: 'anne' }, recordedAs),
      ])
      // The row itself, not what `get` makes of it: it would come alive with the next link.
      const left = await database.query('select grant_id from oauth_grants')
      expect(left, `round ${round}: the consent was ${saved?.status}`).toEqual([])
    }
  },
)

test(
  'a session or consent by a password or passkey that is being ended never stays behind, whichever comes first',
  needsPostgres,
  async () => {
    await using database = await openTestDatabase('postgres')
    await createPeople({ sql: database }).save({ key: 'anne', name: 'Anne' })
    await database.query(`insert into clients (client_id, kind) values ('app', 'person')`)
    const clock = systemClock
    const base = {
      database,
      clock,
      seal: createSeal(randomBytes(32)),
      randomBytes,
      publicUrl: 'http://localhost',
    }
    const signInEnds = createSignInEnds({ ...base, issuer: 'http://localhost/oauth' })
    const signInValidity = createSignInValidity({ trustedIssuers: [], clock })
    const passwords = createPasswords({ ...base, signInEnds })
    const sessions = createSessions({ ...base, signInEnds, signInValidity })
    const passkeys = createPasskeys(base)
    const delegations = { revoke: () => Promise.reject(new Error('Nothing was lent here.')) }
    const grants = createConsents({ database, delegations, signInValidity, clock })
    const words = 'correct horse battery'
    const signOut = async (sql: Sql) => {
      await sessions.endOthers(sql, { person: 'anne', idHash: 'own' }, 't_1')
    }
    const ways = {
      password: {
        async prove(): Promise<Proof> {
          await passwords.set('anne', words)
          return { password: (await passwords.verify('anne', words))?.getTime() ?? 0 }
        },
        end: () => passwords.set('anne', words),
      },
      passkey: {
        async prove(): Promise<Proof> {
          const at = new Date(clock.now())
          await database.query(
            `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
             values ('p', 'anne', '', 0, false, false, 'Phone', $1, $1)`,
            [at],
          )
          return { passkey: 'p' }
        },
        end: () => passkeys?.remove('anne', 'p', 't_1', signOut),
      },
    }
    for (const [name, { prove, end }] of Object.entries(ways))
      for (let round = 0; round < 20; round += 1) {
        const proof = await prove()
        const signedIn = { person: 'anne', amr: [], proof }
        // Some milliseconds late: `set` hashes before it writes.
        const late = (round % 10) * 4
        const begin = async () => {
          await new Promise((resolve) => setTimeout(resolve, late))
          return Promise.allSettled([
            sessions.begin(signedIn, { txn: 't_1' }),
            ...(name === 'password' ? [grants.save(consentOf(`h${round}`, proof), consent)] : []),
          ])
        }
        const [begun] = await Promise.all([begin(), end()])
        const left = await database.query('select from browser_sessions union all select from oauth_grants')
        expect(left, `${name} ${round}: ${begun.map(({ status }) => status).join()}`).toEqual([])
      }
  },
)

const consentOf = (grantId: string, proof: Proof) => ({
  grantId,
  clientId: 'app',
  subject: 'anne',
  delegation: undefined,
  signedInAt: new Date(),
  amr: [],
  upstream: undefined,
  proof,
  expiresAt: new Date(Date.now() + 60_000),
})
