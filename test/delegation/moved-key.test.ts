import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { movedTo } from '../../src/store/moved.ts'
import { found, issuer, old, openFilled, other, tuplesOf, visible, world } from './world-move.ts'

/** Of the process's clock. */
let behindMs = 0

describe('a move', () => {
  beforeEach(() => openFilled({ now: () => Date.now() - behindMs }))
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
    const owners = () =>
      world.database.query(`select owner from documents where id in ('handbook/given', 'handbook/owned')`)
    const owned = { ...readers, owner: `user:${old}` }
    await world.put({ 'handbook/owned': { text: 'Travel that is owned.', access: owned } })
    await ingest.retag(loader, 'handbook/given', owned)
    expect(await owners()).toEqual([{ owner: `user:${third}` }, { owner: `user:${third}` }])
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

  test('is known to come after another one, though the clock was set back between the two', async () => {
    const { personMove } = world.service
    await personMove.move(old, other)
    behindMs = 600_000
    await personMove.move(other, 'acme/third').finally(() => {
      behindMs = 0
    })
    expect(await movedTo(world.database, [`user:${old}`])).toEqual(
      new Map([[`user:${old}`, 'user:acme/third']]),
    )
  })

  test('to a key that was moved itself is refused, which names the one to move to; one that had begun goes on to there', async () => {
    const { personMove } = world.service
    const [third, late] = ['acme/third', 'acme/late']
    await personMove.move(old, other)
    await personMove.move(other, third)
    await expect(personMove.move(late, other)).rejects.toMatchObject({
      field: 'to',
      public: `${other} was moved to ${third}. Move to ${third}.`,
    })
    // As an earlier version left it.
    await world.database.query(
      `insert into desired_tuples (object, relation, subject) values ('group:later', 'member', $1)`,
      [`user:${old}`],
    )
    await world.write(`user:${old} member group:later`)
    expect(await tuplesOf(old)).toEqual(['member group:later'])
    await personMove.move(old, other)
    expect(await tuplesOf(third)).toContain('member group:later')
    expect([await tuplesOf(old), await tuplesOf(other)]).toEqual([[], []])
  }, 60_000)

  test('leads on again where it was taken back before, and a second run of it changes nothing', async () => {
    const { personMove } = world.service
    const [first, second] = [`user:${old}`, `user:${other}`]
    const leads = () => movedTo(world.database, [first, second])
    await personMove.move(old, other)
    await personMove.move(other, old)
    expect(await leads()).toEqual(new Map([[second, first]]))
    await personMove.move(old, other)
    await personMove.move(old, other)
    expect(await leads()).toEqual(new Map([[first, second]]))
    await personMove.move(other, old)
    expect(await leads()).toEqual(new Map([[second, first]]))
    const states = () =>
      world.database.query('select old_key, running, was_disabled from person_moves order by old_key')
    expect(await states()).toEqual([
      { old_key: other, running: false, was_disabled: true },
      { old_key: old, running: false, was_disabled: true },
    ])
  }, 60_000)

  test('has by the old key whom POST /access puts into groups and takes out of them, but for one that only keeps out', async () => {
    const { personMove, ingest } = world.service
    const member = (key: string, group: string) =>
      ({ user: `user:${key}`, relation: 'member', object: `group:hr/${group}` }) as const
    const writer = { subject: 'service:loader', actors: [], client: 'loader', txn: 't_tests' } as const
    const scopes = new Set(['docs.write', 'directory.write'] as const)
    const caller = { kind: 'service', writer, scopes, prefixes: ['hr/'] } as const
    const change = (writes: readonly ReturnType<typeof member>[], deletes = writes.slice(0, 0)) =>
      ingest.changeAccess(caller, { writes, deletes })
    await change([member(old, 'board'), member(old, 'out'), member(old, 'dead')])
    await world.put({
      'handbook/board': { text: 'Travel of the board', access: { viewers: ['group:hr/board#member'] } },
      'handbook/out': {
        text: 'Travel for others',
        access: { viewers: ['group:eng#member'], blocked: ['group:hr/out#member'] },
      },
    })
    await personMove.move(old, other)
    await world.service.people.arrive({ key: other, name: 'Anne' }, { issuer, sub: '00u1anne' })
    expect(await found(other)).toEqual(['handbook/board', ...visible])

    await change([], [member(old, 'board')])
    expect(await found(other)).toEqual(visible)
    await change([member(old, 'board')])
    expect([await found(other), await tuplesOf(old)]).toEqual([['handbook/board', ...visible], []])
    // A system that learns the new key says that one and not the old one any more, in one request or in two.
    await change([member(other, 'board'), member(other, 'out')], [member(old, 'board')])
    await change([], [member(old, 'out')])
    expect(await found(other)).toEqual(['handbook/board', ...visible])
    await change([], [member(other, 'out')])
    expect(await found(other)).toContain('handbook/out')
    // Of a version before this.
    await world.database.query(
      `insert into desired_tuples (object, relation, subject) values ('group:hr/dead', 'member', $1)`,
      [`user:${old}`],
    )
    await world.write(`user:${old} member group:hr/dead`)
    await change([], [member(old, 'dead')])
    expect([await tuplesOf(old), (await tuplesOf(other)).includes('member group:hr/dead')]).toEqual([
      [],
      false,
    ])
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
