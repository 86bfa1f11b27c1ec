import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createPeople } from '../../src/delegation/people/people.ts'
import { createSessions } from '../../src/delegation/people/sessions.ts'
import { createStepUp } from '../../src/delegation/people/step-up.ts'
import { systemClock as clock } from '../../src/kernel/clock.ts'
import { ok } from '../../src/kernel/result.ts'
import { createSeal } from '../../src/store/encryption.ts'
import { openTestDatabase } from '../support/database.ts'

test('nobody is verified in a session that ends while their passkey is looked at', async () => {
  await using database = await openTestDatabase('pglite')
  await createPeople({ sql: database }).save({ key: 'anne', name: 'Anne' })
  const sessions = createSessions({
    database,
    clock,
    randomBytes,
    seal: createSeal(randomBytes(32)),
    signInValidity: { upstreamPerson: () => undefined, assertWithin: async () => undefined },
    signInEnds: { atAuthorizationServer: async () => undefined },
  })
  let meanwhile = async (): Promise<unknown> => undefined
  const unused = () => Promise.reject(new Error('Nobody asks for this.'))
  const stepUp = createStepUp({
    clock,
    sessions,
    // A passkey that is theirs, and counts.
    passkeys: {
      add: unused,
      ask: unused,
      countsAtOnce: unused,
      list: unused,
      offer: unused,
      remove: unused,
      rename: unused,
      sweep: unused,
      async verify() {
        await meanwhile()
        return ok({ person: 'anne', id: 'p', verifies: true })
      },
    },
  })
  const id = await sessions.begin({ person: 'anne', amr: ['pwd'] }, { txn: 't_1' })
  const session = await sessions.find(id)
  if (session === undefined) throw new Error('There is no session.')
  const answer = () => stepUp.answer(id, session, { matter: 'm', answer: 'a', txn: 't_2' })
  expect(await answer()).toMatchObject({ ok: true })
  meanwhile = () => sessions.end(id, 't_3')
  expect(await answer()).toEqual({ ok: false, reason: 'signed_out' })
})
