import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, type TestOptions, test } from 'vitest'
import { createPasskeys, type Passkeys } from '../../src/delegation/people/passkeys.ts'
import { createPeople } from '../../src/delegation/people/people.ts'
import { createSeal } from '../../src/store/encryption.ts'
import { type Authenticator, type Bent, createAuthenticator } from '../support/authenticator.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'
import { movableClock, publicUrl } from './world.ts'

const anne = { key: 'anne', name: 'Anne' }

describe.each([
  { kind: 'pglite' as const, options: {} as TestOptions },
  { kind: 'postgres' as const, options: needsPostgres },
])('passkeys on $kind', ({ kind, options }) => {
  let world: Awaited<ReturnType<typeof open>>
  let passkeys: Passkeys
  beforeAll(async () => {
    if (options.skip === true) return
    world = await open(kind)
    passkeys = world.passkeys
  })
  afterAll(() => world?.database.close())
  beforeEach(async () => {
    await world.database.query(
      'truncate passkeys, passkey_challenges_used, account_links, account_links_ended',
    )
    await world.database.query('update people set passkey_removed_at = null')
  })

  async function registered(
    device: Authenticator = createAuthenticator(publicUrl),
    person = anne,
    verified = false,
  ) {
    const answer = device.make(await passkeys.offer(person, 'session'))
    const added = await passkeys.add(person, 'session', { answer, title: 'Phone', verified, txn: 't' })
    expect(added).toMatchObject({ ok: true, value: { id: device.id, title: 'Phone' } })
    return device
  }

  const signIn = async (device: Authenticator, bent: Bent = {}) =>
    passkeys.verify('sign-in', device.answer(await passkeys.ask('sign-in'), bent))

  test('sign in whoever registered one, without asking who it is', options, async () => {
    const device = await registered()
    expect(await passkeys.ask('sign-in')).toMatchObject({
      rpId: 'localhost',
      userVerification: 'required',
      allowCredentials: undefined,
    })
    expect(await signIn(device)).toEqual({
      ok: true,
      value: { person: 'anne', id: device.id, verifies: true },
    })
    expect(await passkeys.list('anne')).toMatchObject([{ title: 'Phone', lastUsedAt: expect.any(Date) }])
  })

  test(
    'are asked for as discoverable and with verification, and not twice on one device',
    options,
    async () => {
      const device = await registered()
      const offer = await passkeys.offer(anne, 'session')
      expect(offer).toMatchObject({
        rp: { id: 'localhost' },
        attestation: 'none',
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        excludeCredentials: [{ id: device.id }],
      })
      // What a device shows to whoever holds it names nobody.
      expect(Buffer.from(offer.user.id, 'base64url').toString('latin1')).not.toContain('anne')
    },
  )

  describe('an answer is refused', () => {
    test('a second time', options, async () => {
      const device = await registered()
      const answer = device.answer(await passkeys.ask('sign-in'))
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ ok: true })
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ reason: 'unknown_challenge' })
    })

    test('but for one of 20 at once', options, async () => {
      const device = await registered()
      const answer = device.answer(await passkeys.ask('sign-in'))
      const tries = Array.from({ length: 20 }, () => passkeys.verify('sign-in', answer))
      expect((await Promise.all(tries)).filter(({ ok }) => ok)).toHaveLength(1)
    })

    test('to the challenge of another sign-in', options, async () => {
      const device = await registered()
      const answer = device.answer(await passkeys.ask('sign-in of mallory'))
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ reason: 'unknown_challenge' })
    })

    test('to a challenge that was asked for a registration', options, async () => {
      const device = await registered()
      const answer = device.answer(await passkeys.offer(anne, 'session'))
      expect(await passkeys.verify('session', answer)).toMatchObject({ reason: 'unknown_challenge' })
    })

    test('to a challenge of our own making', options, async () => {
      const device = await registered()
      const asked = Buffer.from((await passkeys.ask('sign-in')).challenge, 'base64url')
      asked.writeUIntBE(world.clock.now() + 60_000, 0, 6)
      const answer = device.answer({ challenge: asked.toString('base64url') })
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ reason: 'unknown_challenge' })
    })

    test('after 5 minutes', options, async () => {
      const device = await registered()
      const answer = device.answer(await passkeys.ask('sign-in'))
      world.clock.move(300_001)
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ reason: 'unknown_challenge' })
    })

    test.each<[string, Bent, string]>([
      ['from another origin', { origin: 'https://remit.evil.test' }, 'not_verified'],
      ['from another port', { origin: 'http://localhost:9999' }, 'not_verified'],
      ['for another relying party', { rpId: 'evil.test' }, 'not_verified'],
      ['without the user being verified', { userVerified: false }, 'not_verified'],
      ['without the user being there', { userPresent: false }, 'not_verified'],
      ['of another kind', { type: 'webauthn.create' }, 'not_verified'],
      ['inside a frame of another site', { crossOrigin: true }, 'malformed'],
      ['of a key that is said to have become copyable', { backupEligible: true }, 'not_verified'],
      ['signed by another key', { key: createAuthenticator(publicUrl).key }, 'not_verified'],
      ['for another owner', { userHandle: 'bm90IGFubmU' }, 'unknown_passkey'],
    ])('%s', options, async (_, bent, reason) => {
      const device = await registered()
      expect(await signIn(device, bent)).toMatchObject({ ok: false, reason })
      expect(await signIn(device)).toMatchObject({ ok: true })
    })

    test('whose counter stands still or went back: two devices have the key', options, async () => {
      const device = await registered()
      expect(await signIn(device, { counter: 7 })).toMatchObject({ ok: true })
      for (const counter of [7, 6, 0])
        expect(await signIn(device, { counter })).toMatchObject({ reason: 'counter_went_back' })
      expect(await signIn(device, { counter: 8 })).toMatchObject({ ok: true })
    })

    test('by a passkey that was removed, or never registered', options, async () => {
      const device = await registered()
      expect(await passkeys.remove('anne', device.id, 't')).toBe(true)
      expect(await signIn(device)).toMatchObject({ reason: 'unknown_passkey' })
    })

    test.each([
      ['nothing', undefined],
      ['text', 'x'],
      ['no JSON inside', { response: { clientDataJSON: 'AAAA' } }],
    ])('that is %s', options, async (_, answer) => {
      expect(await passkeys.verify('sign-in', answer)).toMatchObject({ reason: 'malformed' })
    })
  })

  test(
    'are not added under an id that the device did not name in its answer, whatever it signed',
    options,
    async () => {
      const answer = createAuthenticator(publicUrl).make(await passkeys.offer(anne, 'session'), {
        credentialId: randomBytes(2_015),
      })
      expect(
        await passkeys.add(anne, 'session', { answer, title: '', verified: false, txn: 't' }),
      ).toMatchObject({ ok: false, reason: 'malformed' })
    },
  )

  test('count without a counter, as those that devices share do', options, async () => {
    const device = createAuthenticator(publicUrl)
    const answer = device.make(await passkeys.offer(anne, 'session'), { counter: 0, backupEligible: true })
    expect(
      await passkeys.add(anne, 'session', { answer, title: '', verified: false, txn: 't' }),
    ).toMatchObject({ ok: true })
    for (const _ of [1, 2])
      expect(await signIn(device, { counter: 0, backupEligible: true })).toMatchObject({ ok: true })
  })

  describe('a registration is refused', () => {
    const add = async (bent: Bent, person = anne, binding = 'session') => {
      const device = createAuthenticator(publicUrl)
      const answer = device.make(await passkeys.offer(person, 'session'), bent)
      return passkeys.add(person, binding, { answer, title: 'x', verified: false, txn: 't' })
    }
    test.each<[string, Bent, string]>([
      ['from another origin', { origin: 'https://remit.evil.test' }, 'not_verified'],
      ['for another relying party', { rpId: 'evil.test' }, 'not_verified'],
      ['without the user being verified', { userVerified: false }, 'not_verified'],
    ])('%s', options, async (_, bent, reason) => {
      expect(await add(bent)).toMatchObject({ ok: false, reason })
      expect(await passkeys.list('anne')).toEqual([])
    })

    test('in another session', options, async () => {
      expect(await add({}, anne, 'session of mallory')).toMatchObject({ reason: 'unknown_challenge' })
    })

    test('for who signs in elsewhere: shut out there, they must be shut out here', options, async () => {
      expect(await add({}, { key: 'test/anne', name: 'Anne' })).toMatchObject({ reason: 'not_local' })
    })

    test('of a key that somebody has registered already', options, async () => {
      const device = await registered()
      const bob = { key: 'bob', name: 'Bob' }
      const answer = device.make(await passkeys.offer(bob, 'session of bob'))
      expect(
        await passkeys.add(bob, 'session of bob', { answer, title: '', verified: false, txn: 't' }),
      ).toMatchObject({
        reason: 'taken',
      })
      expect(await passkeys.list('bob')).toEqual([])
    })

    test('beyond 20', options, async () => {
      for (let index = 0; index < 20; index += 1) await registered(createAuthenticator(publicUrl), anne, true)
      expect(await add({})).toMatchObject({ reason: 'too_many' })
    })
  })

  describe('that a thief of a session could have added', () => {
    test('is not added beside one of its owner that counts, without that one', options, async () => {
      const own = await registered()
      const answer = createAuthenticator(publicUrl).make(await passkeys.offer(anne, 'session'))
      const made = { answer, title: '', verified: false, txn: 't' }
      expect(await passkeys.add(anne, 'session', made)).toMatchObject({ reason: 'needs_verification' })
      expect((await passkeys.list('anne')).map(({ id }) => id)).toEqual([own.id])
    })

    test('verifies nobody for a day, beside one that does not count yet; it signs in', options, async () => {
      const own = await registered()
      await passkeys.remove('anne', own.id, 't')
      await registered()
      const added = await registered()
      expect(await signIn(added)).toMatchObject({ ok: true, value: { person: 'anne', verifies: false } })
      world.clock.move(86_400_000)
      expect(await signIn(added)).toMatchObject({ ok: true, value: { person: 'anne', verifies: true } })
    })

    test('nor after the thief has removed that one', options, async () => {
      const own = await registered()
      await passkeys.remove('anne', own.id, 't')
      const added = await registered()
      expect(await signIn(added)).toMatchObject({ value: { verifies: false } })
      world.clock.move(7 * 86_400_000)
      await passkeys.remove('anne', added.id, 't')
      world.clock.move(7 * 86_400_000)
      expect(await signIn(await registered())).toMatchObject({ value: { verifies: true } })
    })

    test(
      'nor the first one, beside a link that has settled or has ended within a week',
      options,
      async () => {
        const first = async (verified = false) => {
          const device = await registered(createAuthenticator(publicUrl), anne, verified)
          const { value } = (await signIn(device)) as { readonly value?: { readonly verifies: boolean } }
          await world.database.query('truncate passkeys')
          return value?.verifies
        }
        const at = () => new Date(world.clock.now())
        await world.database.query("insert into account_links values ('https://up.test', 'u', 'anne', $1)", [
          at(),
        ])
        expect([await first(), await passkeys.countsAtOnce('anne')]).toEqual([true, true])
        world.clock.move(86_400_000)
        expect([await first(), await passkeys.countsAtOnce('anne')]).toEqual([false, false])
        expect(await first(true)).toBe(true)
        await world.database.query('delete from account_links')
        await world.database.query(
          "insert into account_links_ended values ('https://up.test', 'u', 'anne', $1)",
          [at()],
        )
        expect(await first()).toBe(false)
        world.clock.move(7 * 86_400_000)
        expect(await first()).toBe(true)
      },
    )

    test('and counts at once where another one of theirs verified them', options, async () => {
      await registered()
      const added = await registered(createAuthenticator(publicUrl), anne, true)
      expect(await signIn(added)).toMatchObject({ value: { verifies: true } })
    })
  })

  test('a sign-in’s answer confirms nothing, and what confirms signs nobody in', options, async () => {
    const device = await registered()
    const signing = device.answer(await passkeys.ask('here'))
    expect(await passkeys.verify('here', signing, 'confirm')).toMatchObject({ reason: 'unknown_challenge' })
    const confirming = device.answer(await passkeys.ask('here', 'confirm'))
    expect(await passkeys.verify('here', confirming)).toMatchObject({ reason: 'unknown_challenge' })
    const again = device.answer(await passkeys.ask('here', 'confirm'))
    expect(await passkeys.verify('here', again, 'confirm')).toMatchObject({ ok: true })
  })

  test('are named and removed by their owner only', options, async () => {
    const { id } = await registered()
    expect(await passkeys.rename('bob', id, 'Mine')).toBe(false)
    expect(await passkeys.remove('bob', id, 't')).toBe(false)
    expect(await passkeys.rename('anne', id, '  Laptop  ')).toBe(true)
    expect(await passkeys.list('anne')).toMatchObject([{ title: 'Laptop' }])
    expect(await passkeys.list('bob')).toEqual([])
  })

  test('are on record when they come and go', options, async () => {
    const { id } = await registered()
    await passkeys.remove('anne', id, 't')
    const rows = await world.database.query(
      "select event, subject from decision_records where detail->>'passkey' = $1 order by at, event",
      [id],
    )
    expect(rows).toEqual([
      { event: 'passkey_added', subject: 'user:anne' },
      { event: 'passkey_removed', subject: 'user:anne' },
    ])
  })

  test(
    'keep no challenge before it is answered, none in the clear after, and forget it in time',
    options,
    async () => {
      const device = await registered()
      await world.database.query('truncate passkey_challenges_used')
      const asked = await passkeys.ask('the-interaction')
      expect(await used()).toBe('[]')
      await passkeys.verify('the-interaction', device.answer(asked))
      expect(await used()).not.toMatch(new RegExp(`^\\[\\]$|the-interaction|${asked.challenge}`))
      const overFor = (seconds: number) =>
        world.database.query(
          'update passkey_challenges_used set expires_at = now() - make_interval(secs => $1)',
          [seconds],
        )
      await overFor(290)
      // A process whose clock is behind still takes it.
      expect(await passkeys.sweep()).toBe(0)
      await overFor(900)
      expect(await passkeys.sweep()).toBe(1)
    },
  )

  test('count once also where a process sweeps whose clock is hours ahead', options, async () => {
    const device = await registered()
    const answer = device.answer(await passkeys.ask('the-interaction'))
    expect(await passkeys.verify('the-interaction', answer)).toMatchObject({ ok: true })
    world.clock.move(12 * 3_600_000)
    await passkeys.sweep()
    world.clock.move(-12 * 3_600_000)
    expect(await passkeys.verify('the-interaction', answer)).toMatchObject({
      reason: 'unknown_challenge',
    })
  })

  /** Behind the database's clock; other tests move the process's by days. */
  const isBehindBy = (ms: number): void => world.clock.move(Date.now() - ms - world.clock.now())

  test('count once also for a process that is a quarter of an hour behind', options, async () => {
    const behindMs = 15 * 60_000
    isBehindBy(behindMs)
    const device = await registered()
    try {
      const answer = device.answer(await passkeys.ask('the-interaction'))
      expect(await passkeys.verify('the-interaction', answer)).toMatchObject({ ok: true })
      // As an earlier version wrote it: its end is over by the database's clock.
      await world.database.query('update passkey_challenges_used set expires_at = $1', [
        new Date(world.clock.now() + 300_000),
      ])
      expect(await passkeys.sweep()).toBe(0)
      expect(await passkeys.verify('the-interaction', answer)).toMatchObject({ reason: 'unknown_challenge' })
    } finally {
      world.clock.move(behindMs)
    }
  })

  test('count once also where another process sweeps than took them and is behind', options, async () => {
    const behindMs = 15 * 60_000
    isBehindBy(behindMs)
    const device = await registered()
    const answer = device.answer(await passkeys.ask('the-interaction'))
    expect(await passkeys.verify('the-interaction', answer)).toMatchObject({ ok: true })
    world.clock.move(behindMs)
    await passkeys.sweep()
    world.clock.move(-behindMs)
    const again = await passkeys.verify('the-interaction', answer)
    world.clock.move(behindMs)
    expect(again).toMatchObject({ reason: 'unknown_challenge' })
  })

  const used = async () => JSON.stringify(await world.database.query('select * from passkey_challenges_used'))
})

test.each(['http://127.0.0.1:8787', 'http://[::1]:8787'])('%s has no passkeys', async (address) => {
  await using database = await openTestDatabase()
  const deps = { database, seal: createSeal(randomBytes(32)), clock: movableClock(), randomBytes }
  expect(createPasskeys({ ...deps, publicUrl: address })).toBeUndefined()
})

async function open(kind: 'pglite' | 'postgres') {
  const database = await openTestDatabase(kind)
  const clock = movableClock()
  const people = createPeople({ sql: database })
  for (const key of ['anne', 'bob']) await people.save({ key, name: key })
  const passkeys = createPasskeys({
    database,
    seal: createSeal(randomBytes(32)),
    clock,
    randomBytes,
    publicUrl,
  })
  if (passkeys === undefined) throw new Error('There are no passkeys at localhost.')
  return { database, clock, passkeys }
}
