import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ChunkId } from '../../src/kernel/ids.ts'
import { withDocumentIds } from '../../src/retrieval/search.ts'
import { describeDatabases } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

describeDatabases('names of documents, kept in memory', (kind) => {
  let world: World
  beforeAll(async () => {
    world = await openWorld({ backend: { database: kind, openfga: 'engine' } })
    await world.put({
      mine: { text: 'The travel budget is 900.', access: { viewers: ['user:anne'] } },
      theirs: { text: 'The secret travel budget is 5,000.', access: { viewers: ['user:bob'] } },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const found = (docNo: number) => ({ chunkId: `c${docNo}` as ChunkId, docNo, ordinal: 0, score: 1 })

  test('are asked for where memory has none yet, and of what is gone there is none', async () => {
    const [mine] = await world.database.query<{ doc_no: number }>(
      `select doc_no from documents where id = 'mine'`,
    )
    const candidates = await withDocumentIds(
      world.database,
      {
        foundAs: (docNo) =>
          docNo === 7_000 ? { documentId: 'known', publication: 1, isNew: false } : undefined,
      },
      [found(7_000), found(mine?.doc_no ?? 0), found(8_000)],
    )
    expect(candidates.map(({ documentId }) => documentId)).toEqual(['known', 'mine'])
  })

  // As after an older copy was put in the database's place, in which numbers belong to others: memory hears
  // of it later.
  test.each(['vector', 'hybrid'])(
    'clear no text of a document that has another name by now: %s',
    async (mode) => {
      const token = await world.token({ user: 'anne' })
      const ask = async () =>
        (await world.retrieve(token, { query: 'travel budget', mode })).results.map(({ text }) => text)
      const exchange = ({ isTold }: { isTold: boolean }) =>
        world.database.transaction(async (sql) => {
          await sql.query('alter table documents disable trigger user')
          for (const [from, to] of [
            ['mine', 'meanwhile'],
            ['theirs', 'mine'],
            ['meanwhile', 'theirs'],
          ] as const)
            await sql.query('update documents set id = $2 where id = $1', [from, to])
          // Memory may have been read between the two: it would keep those names for good.
          if (isTold) await sql.query('update documents set changed_in = pg_current_xact_id()')
          await sql.query('alter table documents enable trigger user')
        })
      expect(await ask()).toEqual(['The travel budget is 900.'])
      await exchange({ isTold: false })
      // Whatever memory holds at this moment: the old names, or those in the database, by which Anne may read
      // the other text.
      expect(await ask()).not.toContain('The travel budget is 900.')
      await exchange({ isTold: true })
      await expect.poll(ask, { timeout: 10_000 }).toEqual(['The travel budget is 900.'])
    },
  )
})
