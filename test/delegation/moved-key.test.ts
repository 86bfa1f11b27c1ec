import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { found, issuer, old, openFilled, other, tuplesOf, visible, world } from './world-move.ts'

describe('a move', () => {
  beforeEach(() => openFilled())
  afterEach(() => world?.[Symbol.asyncDispose]())

  test('that ended is the person whom documents, re-tags and changes of access mean by the old key from then on, also once they moved again', async () => {
    const { personMove, ingest } = world.service
    await personMove.move(old, other)
    const named = { viewers: [`user:${old}`, 'user:dan'], blocked: [`user:${other}`] }
    const readers = { viewers: ['group:eng#member'] }
    await world.put({
      'handbook/later': { text: 'Travel later.', access: { ...readers, blocked: [`user:${old}`] } },
      'handbook/given': { text: 'Travel that is given.', access: { viewers: [`user:${old}`] } },
      'handbook/both': { text: 'Travel of two.', access: named },
    })
    await ingest.applyTuples(operator('t_tests'), {
      writes: [{ user: `user:${old}`, relation: 'blocked', object: 'document:handbook/group' }],
      deletes: [],
    })
    const ofOther = [
      'blocked document:handbook/blocked',
      'blocked document:handbook/both',
      'blocked document:handbook/group',
      'blocked document:handbook/later',
    ]
    expect(await tuplesOf(old)).toEqual([])
    expect(await tuplesOf(other)).toEqual(expect.arrayContaining(ofOther))
    await world.service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
    expect(await found(other)).toEqual(['handbook/given', 'handbook/own', 'handbook/seen'])

    const third = 'acme/third'
    await personMove.move(other, third)
    const loader = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_tests' } as const
    await ingest.retag(loader, 'handbook/given', { ...readers, blocked: [`user:${old}`] })
    expect([await tuplesOf(old), await tuplesOf(other)]).toEqual([[], []])
    expect(await tuplesOf(third)).toEqual(
      expect.arrayContaining([...ofOther, 'blocked document:handbook/given']),
    )
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
    expect(await world.database.query('select object from unreconciled')).toEqual([])
  }, 60_000)

  test('has by the old key whom POST /access means by it: a right that it takes away is gone, another end is refused, and who owns is cited', async () => {
    const { personMove, ingest } = world.service
    const viewer = (key: string, document: string) =>
      ({ user: `user:${key}`, relation: 'viewer', object: `document:handbook/${document}` }) as const
    const hours = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString()
    const until = (count: number) =>
      ({ condition: { name: 'until', context: { expires_at: hours(count) } } }) as const
    const writer = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_tests' } as const
    const caller = {
      kind: 'service',
      writer,
      scopes: new Set(['docs.write'] as const),
      prefixes: [],
    } as const
    const blocked = { ...viewer(old, 'blocked'), relation: 'blocked' }
    await personMove.move(old, other)
    await world.service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
    await expect(
      ingest.changeAccess(caller, { writes: [{ ...viewer(old, 'seen'), ...until(1) }], deletes: [] }),
    ).rejects.toMatchObject({ code: 'conflict', field: 'writes.0' })
    await ingest.changeAccess(caller, { writes: [], deletes: [viewer(old, 'seen'), blocked] })
    // Who takes the old key's block away may have said the new one's before.
    expect(await found(other)).toEqual(['handbook/group', 'handbook/own'])
    await ingest.changeAccess(caller, {
      writes: [
        { ...viewer(old, 'seen'), ...until(1) },
        { ...viewer(other, 'seen'), ...until(2) },
      ],
      deletes: [viewer(old, 'group'), viewer(other, 'own')],
    })
    await ingest.changeAccess(caller, {
      writes: [viewer(other, 'group')],
      deletes: [viewer(old, 'group')],
    })
    expect(await found(other)).toEqual(visible)
    await ingest.changeAccess(caller, {
      writes: [{ user: `user:${old}`, relation: 'owner', object: 'document:handbook/group' }],
      deletes: [],
    })
    const owners = await world.database.query(`select owner from documents where id = 'handbook/group'`)
    expect(owners).toEqual([{ owner: `user:${other}` }])
    expect(await tuplesOf(old)).toEqual([])
    expect(await ingest.drift()).toMatchObject({ mended: 0 })
  }, 60_000)

  test('leaves a content that waits with the end that POST /access says by the old key', async () => {
    const { personMove, ingest } = world.service
    const end = new Date(Date.now() + 3_600_000).toISOString()
    await personMove.move(old, other)
    await world.database.query(
      `insert into failed_documents (doc_no, revision, source, code, detail, tries, bytes, content, access)
       select doc_no, 9, source, 'embedding_failed', '', 1, 1, 'x', $1 from documents where id = 'handbook/group'`,
      [JSON.stringify([{ relation: 'viewer', subject: `user:${other}` }])],
    )
    await ingest.applyTuples(operator('t_tests'), {
      writes: [
        {
          user: `user:${old}`,
          relation: 'viewer',
          object: 'document:handbook/group',
          condition: { name: 'until', context: { expires_at: end } },
        },
      ],
      deletes: [],
    })
    const held = await world.database.query('select access from failed_documents')
    expect(held).toEqual([{ access: [{ relation: 'viewer', subject: `user:${other}`, expiresAt: end }] }])
  })
})
