import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IngestWorld, loader, machine, openIngestWorld, tuple } from './world.ts'

let world: IngestWorld
beforeAll(async () => {
  world = await openIngestWorld()
  await world.putDone({ id: 'd1', access: { viewers: ['user:anne'], parents: ['folder:f'] } })
})
afterAll(() => world[Symbol.asyncDispose]())

test('finds nothing to mend where all agrees', async () => {
  expect(await world.ingest.drift()).toEqual({
    // The document, its folder, four collections and a group.
    compared: 7,
    mended: 0,
    added: 0,
    removed: 0,
    kept: 0,
    requestOnly: 0,
    adopted: true,
  })
})

test('puts back what was deleted behind our back and removes what was added', async () => {
  await world.fga.write({
    deletes: [tuple('user:anne viewer document:d1')],
    writes: [tuple('user:mallory viewer document:d1')],
  })
  await world.fga.write({
    writes: [tuple('user:mallory viewer folder:f'), tuple('user:mallory viewer document:unknown')],
  })
  expect(await world.ingest.drift()).toMatchObject({ mended: 3, added: 1, removed: 3 })
  expect(await world.tuples('document:d1')).toEqual([
    'collection:closed filed_in',
    'folder:f parent',
    'user:anne viewer',
  ])
  expect(await world.tuples('folder:f')).toEqual(['collection:closed filed_in'])
  expect(await world.tuples('document:unknown')).toEqual([])
})

test('names in the log what it mended that was no change of its own, and mends the rest all the same', async () => {
  await world.database.query(`insert into unreconciled (object, purge) values ('document:d1', false)`)
  await world.fga.write({
    writes: ['document:d1', 'folder:f'].map((object) => tuple(`user:mallory viewer ${object}`)),
  })
  expect(await world.ingest.drift()).toMatchObject({ mended: 2, removed: 2 })
  expect(world.logged.findLast(({ event }) => event === 'drift_mended')?.fields).toMatchObject({
    mended: 2,
    unmarked: ['folder:f'],
  })
})

test('leaves lendings and grants to those who keep them', async () => {
  const others = [
    'delegation:x delegated_to document:d1',
    'grant:g granted_by document:d1',
    'delegation:x delegated_to collection:closed',
  ]
  await world.fga.write({ writes: others.map(tuple) })
  expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
  expect(await world.tuples('document:d1')).toEqual(
    expect.arrayContaining(['delegation:x delegated_to', 'grant:g granted_by']),
  )
  expect(await world.tuples('collection:closed')).toEqual(
    expect.arrayContaining(['delegation:x delegated_to', 'service:loader writer']),
  )
})

test('knows that a group stands somewhere until it is gone from OpenFGA, and forgets what was never there', async () => {
  const place = tuple('group:eng#member member group:all')
  const places = () => world.database.query('select subject, object from group_places order by object')
  const known = { subject: 'group:eng#member', object: 'group:all' }
  await world.ingest.applyTuples(machine, { writes: [place], deletes: [] })
  world.onWrite = () => {
    throw new Error('unreachable')
  }
  await expect(world.ingest.applyTuples(machine, { writes: [], deletes: [place] })).rejects.toThrow()
  world.onWrite = () => undefined
  expect(await places()).toEqual([known])
  // As of a Write that never happened, and of one that nobody noted.
  await world.database.query(
    `insert into group_places (subject, object, relation) values ('group:eng#member', 'group:never', 'member')`,
  )
  await world.fga.write({ writes: [tuple('group:eng#member member group:unnoted')] })
  await world.ingest.drift()
  expect(await places()).toEqual([known, { subject: 'group:eng#member', object: 'group:unnoted' }])
  expect(await world.tuples('group:unnoted')).toEqual([])
  await world.ingest.applyTuples(machine, { writes: [], deletes: [place] })
  await world.ingest.drift()
  expect(await places()).toEqual([])
})

test('puts the right end on a tuple whose end was changed', async () => {
  const expires_at = new Date(Date.now() + 3_600_000).toISOString()
  await world.putDone({ id: 'd2', access: { viewers: [{ user: 'user:anne', expires_at }] } })
  await world.fga.write({ deletes: [tuple('user:anne viewer document:d2')] })
  await world.fga.write({ writes: [tuple('user:anne viewer document:d2')] })
  expect(await world.ingest.drift()).toMatchObject({ mended: 1 })
  const found = []
  for await (const stored of world.fga.read({ object: 'document:d2', relation: 'viewer', user: 'user:anne' }))
    found.push(stored)
  expect(found).toMatchObject([{ condition: { name: 'until', context: { expires_at } } }])
  const [mended] = await world.database.query(
    `select detail from decision_records where event = 'drift_mended' order by record_no desc limit 1`,
  )
  expect(mended).toMatchObject({
    detail: { ends: [`user:anne viewer document:d2 until ${expires_at}`] },
  })
})

test.each([
  'user:anne acting_for agent:bot',
  'user:anne presented delegation:x',
  'user:anne presented grant:g',
])('deletes the request-only tuple "%s" and says so loudly, also at start', async (line) => {
  await world.fga.write({ writes: [tuple(line)] })
  expect(await world.ingest.drift()).toMatchObject({ requestOnly: 1 })
  expect(await world.tuples(tuple(line).object)).toEqual([])
  await world.fga.write({ writes: [tuple(line)] })
  await world.restart()
  expect(await world.tuples(tuple(line).object)).toEqual([])
  expect(
    world.logged.filter(({ event }) => event === 'request_only_tuples_stored').length,
  ).toBeGreaterThanOrEqual(2)
})

test('every start compares in the background: an older OpenFGA lets nobody read until the next hour who was taken off', async () => {
  await world.fga.write({ writes: [tuple('user:mallory viewer document:d1')] })
  await world.restart()
  await expect.poll(() => world.tuples('document:d1')).not.toContain('user:mallory viewer')
})

test('mends all others where one cannot be mended, says so, and starts all the same', async () => {
  // The model takes it, and OpenFGA refuses so long an id.
  const wrong = { object: `document:a-${'wrong'.repeat(60)}` }
  await world.database.query(
    `insert into desired_tuples (object, relation, subject) values ($1, 'viewer', 'user:anne')`,
    [wrong.object],
  )
  await world.database.query('insert into unreconciled (object, purge) values ($1, false), ($2, false)', [
    wrong.object,
    'document:d1',
  ])
  await world.fga.write({ writes: [tuple('user:mallory viewer document:d1')] })
  await world.restart()
  expect(await world.tuples('document:d1')).not.toContain('user:mallory viewer')
  expect(await world.database.query('select object from unreconciled')).toEqual([wrong])
  expect(world.logged).toContainEqual({
    event: 'background_failed',
    fields: { name: 'mend', reason: expect.any(String) },
  })
  await world.fga.write({ writes: [tuple('user:mallory viewer document:d1')] })
  await expect(world.ingest.drift()).rejects.toThrow()
  expect(await world.tuples('document:d1')).not.toContain('user:mallory viewer')
  for (const table of ['desired_tuples', 'unreconciled'])
    await world.database.query(`delete from ${table} where object = $1`, [wrong.object])
  expect(await world.ingest.drift()).toMatchObject({ mended: 0 })
})

test('records what it mended', async () => {
  await world.ingest.withdraw(loader, 'd2')
  await world.fga.write({ writes: [tuple('user:anne viewer document:d2')] })
  await world.ingest.drift()
  const rows = await world.database.query(
    `select detail -> 'removed' as removed from decision_records
     where event = 'drift_mended' and detail ->> 'object' = 'document:d2' order by record_no desc limit 1`,
  )
  expect(rows).toEqual([{ removed: ['user:anne viewer document:d2'] }])
})
