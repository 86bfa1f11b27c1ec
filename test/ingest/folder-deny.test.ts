import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { documentObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { type IngestWorld, loader, openIngestWorld, tuple } from './world.ts'

const docs: Caller = {
  kind: 'service',
  writer: loader,
  scopes: new Set(['docs.write', 'directory.write']),
  prefixes: ['ho/'],
}
const count = 10_000
// 51 to 90 on two busy cores.
const msMax = 1_000

for (const backend of backends.filter(
  ({ database, openfga }) => database === 'postgres' && openfga === 'server',
))
  describe(`a deny above ${count} documents, on ${backend.name}`, backend.options, () => {
    let world: IngestWorld
    beforeAll(async () => {
      world = await openIngestWorld(backend)
      await world.putDone({ id: 'many/0', access: { parents: ['folder:many'] } })
      await world.ingest.changeAccess(docs, {
        writes: ['user:anne viewer folder:many', 'organization:ho/o#member viewer collection:closed'].map(
          tuple,
        ),
        deletes: [],
      })
      await world.ingest.saveCollection(loader, { id: 'closed', title: 'Closed', organization: 'ho/o' })
      // As if each had come in: the same tuples, desired and in OpenFGA, without a passage.
      const ids = Array.from({ length: count - 1 }, (_, nth) => `many/${nth + 1}`)
      await world.database.query(
        `insert into desired_tuples (object, relation, subject)
         select 'document:' || id, relation, subject from unnest($1::text[]) id,
           (values ('filed_in', 'collection:closed'), ('parent', 'folder:many')) as t (relation, subject)`,
        [ids],
      )
      for (let offset = 0; offset < ids.length; offset += 48) {
        const writes = ids
          .slice(offset, offset + 48)
          .flatMap((id) => [
            tuple(`collection:closed filed_in document:${id}`),
            tuple(`folder:many parent document:${id}`),
          ])
        // One of the two hundred may be answered 500 on a busy machine. A second one writes what is missing.
        await world.fga.write({ writes }).catch(() => world.fga.write({ writes }))
      }
    }, 240_000)
    afterAll(() => world?.[Symbol.asyncDispose]())

    const readers = async (): Promise<number> => {
      const ids = Array.from({ length: 40 }, (_, nth) => `many/${nth * 250}`)
      const { verdicts } = await world.fga.batchCheck(
        ids.map((id) => ({ user: 'user:anne', relation: 'can_read', object: documentObject(id) })),
        { now: Date.now() },
      )
      expect(verdicts).not.toContain('error')
      return verdicts.filter((verdict) => verdict === 'allowed').length
    }

    test.each([
      'user:anne blocked folder:many',
      'user:anne blocked collection:closed',
      'user:anne blocked organization:ho/o',
    ])(
      '%s is in force when it returns, by one Write, without a document or an embedding',
      async (line) => {
        let ms = Number.POSITIVE_INFINITY
        // What the machine does beside only adds: the quickest of three.
        for (let tries = 0; tries < 3 && ms >= msMax; tries += 1) {
          expect(await readers()).toBe(40)
          let writes = 0
          let embedded = 0
          world.onEmbed = (texts) => {
            embedded += texts.length
          }
          world.onPart = () => {
            writes += 1
          }
          const began = performance.now()
          await world.ingest.changeAccess(docs, { writes: [tuple(line)], deletes: [] })
          ms = Math.round(performance.now() - began)
          world.onPart = () => undefined
          expect(await readers()).toBe(0)
          console.log(`${line}: ${ms} ms, ${writes} Write, ${embedded} embeddings`)
          expect({ writes, embedded }).toEqual({ writes: 1, embedded: 0 })
          await world.ingest.changeAccess(docs, { writes: [], deletes: [tuple(line)] })
          expect(await readers()).toBe(40)
        }
        expect(ms).toBeLessThan(msMax)
      },
      60_000,
    )
  })
