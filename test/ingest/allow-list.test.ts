import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readPin, readVersion, writePin } from '../../src/authz/model/pin.ts'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import { type IngestWorld, loader, machine, openIngestWorld, tuple } from './world.ts'

const swap =
  (...pairs: readonly (readonly [string, string])[]) =>
  (text: string): string =>
    pairs.reduce((changed, [from, to]) => {
      expect(changed).toContain(from)
      return changed.replaceAll(from, to)
    }, text)

const docs: Caller = { kind: 'service', writer: loader, scopes: new Set(['docs.write']), prefixes: [] }
const administrator: Caller = { kind: 'administrator', writer: { ...loader, subject: 'user:root' } }

describe('with rows of its own', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(undefined, {
      edit: {
        model: swap(
          [
            'define tagger: [service]\n',
            'define tagger: [service]\n    define contractor: [user with until]\n',
          ],
          [
            'organization#member, user with until, group#member with until] or viewer from parent',
            'organization#member, user with until, group#member with until] or viewer from parent or contractor from parent',
          ],
          [
            'define viewer: [user, user:*, group#member, organization#member, user with until, group#member with until] or owner or viewer from parent',
            'define hold: [user:*]\n    define viewer: [user, user:*, group#member, organization#member, user with until, group#member with until] or owner or viewer from parent or contractor from parent',
          ],
          [
            'viewer from parent or contractor from parent\n    define delegated_to',
            'viewer from parent\n    define delegated_to',
          ],
          ['can_read: viewer but not blocked', 'can_read: viewer but not (blocked or hold)'],
        ),
        allowList: swap(
          [
            '  collection:\n',
            '  collection:\n    contractor: { subjects: [user with until], write: tagger, delete: tagger }\n',
          ],
          [
            '    # Part of',
            '    hold: { subjects: [user:*], write: administrator, delete: administrator }\n    # Part of',
          ],
          [
            'owner: { subjects: [user], write: writer, delete: writer }',
            'owner: { subjects: [user], write: writer }',
          ],
          [
            'tagger: { subjects: [service], write: administrator, delete: administrator }',
            'tagger: { subjects: [service], write: administrator }',
          ],
          [
            '    organization: { subjects: [organization], write: administrator, delete: administrator }\n',
            '',
          ],
        ),
      },
    })
    await world.putDone({ id: 'plan', access: { viewers: ['user:anne'], parents: ['collection:closed'] } })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const end = new Date(Date.now() + 3_600_000).toISOString()
  const carol = {
    ...tuple('user:carol contractor collection:closed'),
    condition: { name: 'until' as const, context: { expires_at: end } },
  }

  test('a tagger writes the new relation, with an end, and drift keeps it and nothing that came another way', async () => {
    await expect(
      world.ingest.changeAccess(docs, {
        writes: [tuple('user:carol contractor collection:closed')],
        deletes: [],
      }),
    ).rejects.toMatchObject({ code: 'invalid_request', field: 'writes.0.condition' })
    await world.ingest.changeAccess(docs, { writes: [carol], deletes: [] })
    expect(await world.sees('user:carol', 'plan')).toBeDefined()
    await world.fga.write({ writes: [{ ...carol, user: 'user:mallory' }] })
    await world.ingest.drift()
    expect(await world.sees('user:carol', 'plan')).toBeDefined()
    expect(await world.sees('user:mallory', 'plan')).toBeUndefined()
  })

  test('what an administrator put over a document outlives that its source sends it anew, opens it, and withdraws it', async () => {
    const hold = tuple('user:* hold document:plan')
    await expect(world.ingest.changeAccess(docs, { writes: [hold], deletes: [] })).rejects.toMatchObject({
      code: 'forbidden',
    })
    await world.ingest.changeAccess(administrator, { writes: [hold], deletes: [] })
    const isHeld = async () => expect(await world.tuples(documentObject('plan'))).toContain('user:* hold')
    await world.ingest.retag(loader, 'plan', { viewers: ['user:anne'] })
    await isHeld()
    await world.putDone({ id: 'plan', text: 'Anew.', access: { viewers: ['user:anne'] } })
    await isHeld()
    await world.done(await world.ingest.withdraw(loader, 'plan'))
    await world.putDone({ id: 'plan', access: { viewers: ['user:anne'] } })
    await isHeld()
    expect(await world.sees('user:anne', 'plan')).toBeUndefined()
    await expect(world.ingest.changeAccess(docs, { writes: [], deletes: [hold] })).rejects.toMatchObject({
      code: 'forbidden',
    })
    await world.ingest.changeAccess(administrator, { writes: [], deletes: [hold] })
    expect(await world.sees('user:anne', 'plan')).toBeDefined()
  })

  test('what is only added is not taken away by leaving it out, and the member is named', async () => {
    await world.putDone({ id: 'owned', access: { owner: 'user:anne' } })
    await expect(world.ingest.retag(loader, 'owned', {})).rejects.toMatchObject({
      code: 'forbidden',
      field: 'access.owner',
    })
    await expect(world.put({ id: 'owned', access: { owner: 'user:bob' } })).rejects.toMatchObject({
      code: 'forbidden',
      field: 'access.owner',
    })
    expect(await world.sees('user:anne', 'owned')).toBeDefined()
  })

  test('a relation whose row is gone is written by no way in', async () => {
    const organization = tuple('organization:o organization collection:closed')
    await expect(
      world.ingest.changeAccess(administrator, { writes: [organization], deletes: [] }),
    ).rejects.toMatchObject({ code: 'invalid_request', field: 'writes.0.relation' })
    await expect(
      world.ingest.saveCollection(machine, { id: 'closed', title: 'Closed', organization: 'o' }),
    ).rejects.toMatchObject({ code: 'forbidden', field: 'organization' })
  })

  test('a collection that is saved takes nothing away that nobody may delete, and keeps nothing else of it', async () => {
    const title = () => world.database.query("select title from collections where id = 'closed'")
    const before = await title()
    expect(before).toHaveLength(1)
    await expect(
      world.ingest.saveCollection(machine, { id: 'closed', title: 'Emptied', taggers: [] }),
    ).rejects.toMatchObject({ code: 'forbidden', field: 'taggers' })
    expect(await title()).toEqual(before)
    await world.ingest.changeAccess(docs, {
      writes: [tuple('user:dora viewer collection:closed')],
      deletes: [],
    })
  })
})

describe('content that moves to another folder, where folders lie by a relation of their own and no writer takes a block back', () => {
  let world: IngestWorld
  let goOn: () => void
  beforeAll(async () => {
    world = await openIngestWorld(undefined, {
      edit: {
        model: swap(
          [
            'define blocked: [user, group#member] or blocked from parent\n',
            'define shelf: [folder]\n    define blocked: [user, group#member] or blocked from parent or blocked from shelf\n',
          ],
          [
            'viewer from parent\n    define delegated_to',
            'viewer from parent or viewer from shelf\n    define delegated_to',
          ],
        ),
        allowList: swap(
          ['  folder:\n', '  folder:\n    shelf: { subjects: [folder], write: tagger }\n'],
          [
            'blocked: { subjects: [user, group#member], write: writer, delete: writer }',
            'blocked: { subjects: [user, group#member], write: writer, delete: administrator }',
          ],
        ),
      },
    })
    await world.ingest.applyTuples(machine, {
      writes: [
        ...['box', 'top', 'open'].map((one) => `collection:closed filed_in folder:${one}`),
        'folder:top shelf folder:box',
        'user:bob blocked folder:top',
      ].map(tuple),
      deletes: [],
    })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const within = (folder: string) => ({ viewers: ['user:anne', 'user:bob'], parents: [`folder:${folder}`] })
  async function liveAndWaiting(id: string): Promise<string> {
    world.onStep = async () => undefined
    await world.putDone({ id, text: 'old', access: within('box') })
    const gate = new Promise<void>((resolve) => {
      goOn = resolve
    })
    world.onStep = async (step) => {
      if (step === 'prepared') await gate
    }
    return world.put({ id, text: 'new', access: within('open') })
  }

  test('keeps what blocks above by that relation until it is published', async () => {
    const job = await liveAndWaiting('moved')
    try {
      expect(await world.sees('user:anne', 'moved')).toBe('old')
      expect(await world.sees('user:bob', 'moved')).toBeUndefined()
    } finally {
      goOn()
    }
    await world.done(job)
    expect(await world.sees('user:bob', 'moved')).toBe('new')
  })

  test.each<[string, (id: string) => Promise<unknown>]>([
    ['more content', (id) => world.put({ id, text: 'newer', access: within('open') })],
    ['PUT access', (id) => world.ingest.retag(loader, id, within('open'))],
    ['a withdrawal', (id) => world.ingest.withdraw(loader, id)],
  ])(
    '%s meanwhile keeps what was blocked on the document, and nothing of where it lay',
    async (what, then) => {
      const id = what.replaceAll(' ', '-')
      const job = await liveAndWaiting(id)
      try {
        await world.ingest.changeAccess(docs, {
          writes: [tuple(`user:anne blocked document:${id}`)],
          deletes: [],
        })
        await then(id)
        for (const user of ['user:anne', 'user:bob']) expect(await world.sees(user, id)).toBeUndefined()
      } finally {
        goOn()
      }
      await world.done(job)
      await world.putDone({ id, text: 'last', access: within('open') })
      expect(await world.sees('user:bob', id)).toBe('last')
      expect(await world.sees('user:anne', id)).toBeUndefined()
    },
  )
})

describe('while another list comes into force', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld()
    await world.putDone({ id: 'plan', access: { viewers: ['user:anne'] } })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  /** What another process does at the last yes of a plan. */
  async function activateAnother(): Promise<void> {
    await world.database.transaction(async (sql) => {
      const pin = await readPin(sql, { lock: 'update' })
      const version = pin && (await readVersion(sql, pin.model_id))
      if (pin === undefined || version === undefined) throw new Error('no model in force')
      const id = `${version.id}+`
      await writePin(sql, pin.store_id, { ...version, id })
    })
  }

  test.each<[string, () => Promise<unknown>]>([
    [
      'POST /access',
      () =>
        world.ingest.changeAccess(docs, { writes: [tuple('user:bob viewer document:plan')], deletes: [] }),
    ],
    ['PUT access', () => world.ingest.retag(loader, 'plan', { viewers: ['user:anne', 'user:bob'] })],
    ['a document', () => world.put({ id: 'plan', access: { viewers: ['user:anne', 'user:bob'] } })],
  ])('%s that was checked by the former one changes nothing', async (_, change) => {
    const before = await readPin(world.database)
    world.onAsk = async () => {
      world.onAsk = async () => undefined
      await activateAnother()
    }
    await expect(change()).rejects.toMatchObject({ code: 'authorization_unavailable' })
    await world.database.query(`update settings set value = $1 where key = 'authorization_model'`, [
      { ...before },
    ])
    await world.ingest.drift()
    expect(await world.tuples(documentObject('plan'))).toEqual([
      'collection:closed filed_in',
      'user:anne viewer',
    ])
  })
})
