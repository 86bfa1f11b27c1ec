import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { type IngestWorld, loader, machine, openIngestWorld, tuple } from '../ingest/world.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from './world.ts'

describe('where all access ended', () => {
  let world: DirectoryWorld
  beforeAll(async () => {
    world = await openDirectoryWorld()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const byHand = (...tuples: readonly string[]) =>
    world.service.ingest.applyTuples(operator('t_tests'), {
      deletes: [],
      writes: tuples.map((text) => {
        const [user = '', relation = '', object = ''] = text.split(' ')
        return { user, relation, object: object as `collection:${string}` }
      }),
    })
  async function endAll(): Promise<number> {
    const { memberships, ingest } = world.service
    await memberships.endGiving()
    return ingest.endAccess(operator('t_tests'), (usersets) =>
      memberships.restrictingOf(world.database, usersets),
    )
  }
  const settle = async () => {
    await world.service.ingest.drift()
    await world.service.memberships.compare()
    await world.service.memberships.mend()
  }

  test('nobody is in a directory’s group again before it says so; who is blocked stays blocked, where things are filed', async () => {
    const sam = await world.user('sam')
    const giving = await world.group('Readers', sam)
    const blocking = await world.group('Out', sam)
    await byHand(
      'organization:local/firm organization collection:finance',
      `group:acme/${blocking}#member blocked organization:local/firm`,
    )
    const documents = {
      'handbook/plan': { text: 'Travel as planned.', access: { viewers: [`group:acme/${giving}#member`] } },
      'finance/plan': {
        text: 'Travel that is paid.',
        collection: 'finance',
        access: { viewers: [`group:acme/${giving}#member`, 'user:bob'] },
      },
    }
    await world.put(documents)
    const found = async () => world.found(await world.personToken('sam'))
    const bobFound = async () => world.found(await world.token({ user: 'bob' }))
    expect([await found(), await bobFound()]).toEqual([['handbook/plan'], ['finance/plan']])

    expect(await endAll()).toBeGreaterThan(3)
    await settle()
    expect([await found(), await bobFound()]).toEqual([[], []])
    expect([await world.members(giving), await world.members(blocking)]).toEqual([[], ['user:acme/sam']])
    expect(await endAll()).toBe(0)

    // The service may write again once the operator says so, and sends what it sent.
    await world.service.services.save({ name: 'loader', collections: ['handbook', 'finance'], prefixes: [] })
    await world.put(documents)
    await settle()
    expect([await found(), await bobFound()]).toEqual([[], ['finance/plan']])
    await world.scim(
      'PATCH',
      `/Groups/${giving}`,
      patch({ op: 'add', path: 'members', value: [{ value: sam }] }),
    )
    expect(await found()).toEqual(['handbook/plan'])
  })
})

describe('where all access ended while content waited or had failed', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(undefined, { retryPauseSecondsMax: 0 })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test('what comes in after all lets nobody read who stood in it', async () => {
    const access = { viewers: ['user:anne'] }
    let goOn = (): void => undefined
    const going = new Promise<void>((resolve) => {
      goOn = resolve
    })
    let isBroken = true
    world.onStep = async (step, id) => {
      if (step !== 'prepared') return
      if (id === 'a/waiting') await going
      if (id === 'a/failed' && isBroken) throw new ParseError('unreadable', 'Not read here.')
    }
    const failed = await world.putDone({ id: 'a/failed', text: 'It failed.', access })
    expect(failed.state).toBe('failed')
    const waiting = await world.put({ id: 'a/waiting', text: 'It waits.', access })
    await world.ingest.endAccess(machine, async () => [])
    isBroken = false
    goOn()
    expect((await world.done(waiting)).state).toBe('done')
    await world.fga.write({ writes: [tuple('service:loader writer collection:closed')] })
    const root = { ...loader, subject: 'user:root', client: 'console' } as const
    const { jobId } = await world.ingest.retry('a/failed', { by: root, isAdministrator: true })
    expect((await world.done(jobId)).state).toBe('done')
    expect([await world.sees('user:anne', 'a/waiting'), await world.sees('user:anne', 'a/failed')]).toEqual([
      undefined,
      undefined,
    ])
  })
})
