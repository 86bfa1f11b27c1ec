import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Sql } from '../../src/store/sql.ts'
import { openWorld, type World } from '../support/world.ts'

const asked = 'otters of the quagmire'

async function askAndRead(env: Readonly<Record<string, string>>): Promise<World> {
  const world = await openWorld({ env })
  await world.put({ plan: { text: 'Otters build.', access: { viewers: ['user:anne'] } } })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  await world.service.administrators.add('user:dan', ['security.read'])
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  expect((await world.retrieve(token, { query: asked })).results).toHaveLength(1)
  await world.service.record.seal()
  return world
}

/** Tables of whatever schema in which a text stands anywhere. */
async function holding(sql: Sql, text: string): Promise<string[]> {
  const tables = await sql.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`,
  )
  const found: string[] = []
  for (const { name } of tables) {
    const [row] = await sql.query<{ there: boolean }>(
      `select exists (select from ${name} one where strpos(lower(one::text), $1) > 0) as there`,
      [text],
    )
    if (row?.there === true) found.push(name)
  }
  return found
}

const exported = async (world: World): Promise<string> => {
  const token = await world.token({ user: 'dan' })
  const headers = { accept: 'application/x-ndjson' }
  return await (await world.call('GET', '/audit?event=retrieved', { token, headers })).text()
}

test('what was asked is nowhere in the database, nor in an export, unless opted in', async () => {
  await using world = await askAndRead({})
  // That it is looked for where it would be.
  expect(await holding(world.database, 'query_hmac')).toEqual(['public.decision_records'])
  for (const word of [asked, 'quagmire']) expect(await holding(world.database, word)).toEqual([])
  expect(await exported(world)).not.toContain('quagmire')
})

test('opted in, what was asked is on record and exported, sealed, and erased with the person alone', async () => {
  await using world = await askAndRead({ AUDIT_QUERY_TEXT: 'true' })
  await world.retrieve(await world.token({ user: 'bob' }), { query: 'quagmire of bob' })
  await world.service.record.seal()
  expect(await holding(world.database, asked)).toEqual(['public.decision_records'])
  expect(await exported(world)).toContain(`"query":"${asked}"`)
  await world.service.record.erase('user:anne')
  expect(await holding(world.database, asked)).toEqual([])
  expect(await holding(world.database, 'quagmire of bob')).toEqual(['public.decision_records'])
  expect(await exported(world)).not.toContain(asked)
  expect(await world.service.record.verify([])).toMatchObject({ found: 0 })
})

test('opted in, no word that somebody asks for keeps the record from being sealed', async () => {
  await using world = await askAndRead({ AUDIT_QUERY_TEXT: 'true' })
  const letters = Array.from({ length: 90 }, (_, nth) =>
    createHash('sha256').update(`${nth}`).digest('base64url'),
  )
  for (const length of [2_600, 2_601, 3_500])
    await world.retrieve(await world.token({ user: 'bob' }), {
      query: `may user:${letters.join('').slice(0, length)} read?`,
    })
  await world.service.record.seal()
  expect(await world.service.record.verify([])).toMatchObject({ found: 0 })
  await world.service.record.erase('user:bob')
  expect(await world.service.record.verify([])).toMatchObject({ found: 0 })
})
