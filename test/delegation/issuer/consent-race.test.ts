import { expect, test } from 'vitest'
import { createConsents } from '../../../src/delegation/oauth/consents.ts'
import { createAccountLinks } from '../../../src/delegation/people/links.ts'
import { createPeople } from '../../../src/delegation/people/people.ts'
import { createSignInValidity } from '../../../src/delegation/people/sign-in-validity.ts'
import { systemClock } from '../../../src/kernel/clock.ts'
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
