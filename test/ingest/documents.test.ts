import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AppError } from '../../src/kernel/errors.ts'
import { describeBackends } from '../support/backends.ts'
import { documentOf, type IngestWorld, loader, openIngestWorld, stranger } from './world.ts'

describeBackends('ingestion', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend)
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const refusal = async (work: Promise<unknown>): Promise<Pick<AppError, 'code' | 'field'>> => {
    const error = (await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )) as AppError | undefined
    return { code: error?.code as AppError['code'], field: error?.field }
  }

  const anne = { viewers: ['user:anne'] }

  describe('a document', () => {
    test('is readable by whom its access names, once its job is done, and by nobody else', async () => {
      const job = await world.putDone({
        id: 'plain',
        access: { owner: 'user:dan', viewers: ['user:anne', 'group:eng#member'] },
      })
      expect(job).toMatchObject({ state: 'done', done: 1, failed: 0, total: 1, errors: [], notes: [] })
      for (const user of ['user:dan', 'user:anne', 'user:eve'])
        expect(await world.sees(user, 'plain')).toBeDefined()
      expect(await world.sees('user:bob', 'plain')).toBeUndefined()
    })

    test.each<[string, (id: string, folder: string) => Promise<unknown>]>([
      ['its own content', async () => undefined],
      [
        'a re-tag',
        async (id, folder) => {
          await world.putDone({ id, access: {} })
          await world.ingest.retag(loader, id, { parents: [`folder:${folder}`] })
        },
      ],
      [
        'a tuple',
        async (id, folder) => {
          await world.putDone({ id, access: {} })
          await world.ingest.applyTuples(loader, {
            writes: [
              {
                user: `folder:${folder}`,
                relation: 'parent',
                object: `document:${id}` as `document:${string}`,
              },
            ],
            deletes: [],
          })
        },
      ],
    ])(
      'comes into a folder whose filing broke off, by %s, only once that is rid of others’ tuples',
      async (by, comes) => {
        const folder = `broke-off-${by.length}`
        const first = `${folder}/first`
        await world.fga.write({
          writes: [{ user: 'user:mallory', relation: 'viewer', object: `folder:${folder}` }],
        })
        world.onWrite = () => {
          world.onWrite = () => undefined
          throw new Error('OpenFGA is away for a moment.')
        }
        await expect(world.put({ id: first, access: { parents: [`folder:${folder}`] } })).rejects.toThrow()
        await comes(`${folder}/second`, folder)
        const isLive = async () => {
          const rows = await world.database.query(
            'select 1 from documents where id = $1 and live_revision is not null',
            [first],
          )
          return rows.length > 0
        }
        await expect.poll(isLive, { timeout: 10_000 }).toBe(true)
        for (const id of ['first', 'second'])
          expect(await world.sees('user:mallory', `${folder}/${id}`)).toBeUndefined()
      },
    )

    test('is refused by name where more parents come and go than one Write takes', async () => {
      const parents = (name: string, count: number) => ({
        parents: Array.from({ length: count }, (_, nth) => `folder:many-${name}-${nth}`),
      })
      const put = (name: string, count: number) => world.put({ id: 'many', access: parents(name, count) })
      await world.done(await put('a', 50))
      expect(await refusal(put('b', 46))).toEqual({ code: 'invalid_request', field: 'access.parents' })
      await world.done(await put('b', 45))
    })

    test('without access is readable by nobody', async () => {
      await world.putDone({ id: 'silent', access: {} })
      for (const user of ['user:anne', 'user:*', 'user:eve'])
        expect(await world.sees(user, 'silent')).toBeUndefined()
    })

    test('without text is published with no passages', async () => {
      expect(await world.putDone({ id: 'blank', text: ' \n', access: anne })).toMatchObject({ state: 'done' })
      const [row] = await world.database.query(
        `select live_revision, chunk_count from documents where id = 'blank'`,
      )
      expect(row).toEqual({ live_revision: 1, chunk_count: 0 })
    })

    test('is found by the words of its title and headings, marked as such, and of its body', async () => {
      await world.putDone({ id: 'weights', title: 'Travel', text: '# Hotels\n\nBook early.', access: anne })
      const rows = await world.database.query<{ title: string; heading: string; body: string }>(
        `select ts_filter(tsv, '{a}') @@ 'travel' as title, ts_filter(tsv, '{a}') @@ 'hotel' as heading,
         ts_filter(tsv, '{d}') @@ 'book' as body
       from chunk_words join documents using (doc_no) where id = 'weights'`,
      )
      expect(rows).toEqual([{ title: true, heading: true, body: true }])
    })

    test('that cannot be read fails its job by name and leaves what was live as it was', async () => {
      await world.putDone({ id: 'kept', text: 'readable', access: anne })
      const job = await world.putDone({
        id: 'kept',
        content_base64: Buffer.from('not a pdf').toString('base64'),
        mime_type: 'application/pdf',
        access: anne,
      })
      expect(job).toMatchObject({ state: 'failed', failed: 1, errors: [{ id: 'kept', code: 'unreadable' }] })
      expect(await world.sees('user:anne', 'kept')).toBe('readable')
    })

    test('keeps the chunk ids of other documents as they are, whatever comes and goes', async () => {
      const ids = () =>
        world.database.query(
          `select chunk_id from chunks join documents using (doc_no) where id = 'steady' order by ordinal`,
        )
      await world.putDone({ id: 'steady', text: 'one', access: anne })
      const before = await ids()
      await world.putDone({ id: 'noise', access: anne })
      expect(before).toHaveLength(1)
      expect(await ids()).toEqual(before)
    })

    test('loses the people that new access leaves out before the request is answered', async () => {
      await world.putDone({ id: 'shrinks', text: 'secret', access: { viewers: ['user:anne', 'user:bob'] } })
      let early: string | undefined = 'not looked'
      const answered = Promise.withResolvers<void>()
      world.onStep = async (step) => {
        if (step !== 'prepared') return
        // The worker may be at it before the request is answered.
        await answered.promise
        early = await world.sees('user:bob', 'shrinks')
      }
      await world.put({ id: 'shrinks', text: 'secret 2', access: { ...anne, blocked: ['user:eve'] } })
      answered.resolve()
      expect(await world.tuples('document:shrinks')).toContain('user:eve blocked')
      expect(await world.tuples('document:shrinks')).not.toContain('user:bob viewer')
      await expect.poll(() => world.sees('user:anne', 'shrinks')).toBe('secret 2')
      world.onStep = async () => undefined
      expect(early).toBeUndefined()
    })

    test('keeps the earlier of two ends while new content waits, and the new one after', async () => {
      const later = new Date(Date.now() + 7_200_000).toISOString()
      const sooner = new Date(Date.now() + 3_600_000).toISOString()
      const ends = () =>
        world.database.query(
          `select expires_at from desired_tuples where object = 'document:ends' and relation = 'viewer'`,
        )
      await world.putDone({ id: 'ends', access: { viewers: [{ user: 'user:anne', expires_at: later }] } })
      await world.put({ id: 'ends', access: { viewers: [{ user: 'user:anne', expires_at: sooner }] } })
      expect(await ends()).toEqual([{ expires_at: new Date(sooner) }])
      await world.putDone({ id: 'ends', access: anne })
      expect(await ends()).toEqual([{ expires_at: null }])
      expect(await world.sees('user:anne', 'ends')).toBeDefined()
    })

    test('ends with the newest of two revisions, and the older one says that it was superseded', async () => {
      const jobs = await Promise.all([
        world.put({ id: 'race', text: 'first', access: anne }),
        world.put({ id: 'race', text: 'second', access: anne }),
        world.put({ id: 'race', text: 'third', access: anne }),
      ])
      const ended = await Promise.all(jobs.map((id) => world.done(id)))
      expect(ended.map(({ state }) => state)).toEqual(['done', 'done', 'done'])
      expect(['first', 'second', 'third']).toContain(await world.sees('user:anne', 'race'))
      const [row] = await world.database.query<{ same: boolean }>(
        `select live_revision = accepted_revision and live_revision = 3 as same from documents where id = 'race'`,
      )
      expect(row?.same).toBe(true)
      expect(
        ended.flatMap(({ notes }) => notes.map(({ code }) => code)).every((code) => code === 'superseded'),
      ).toBe(true)
    })

    test('is never overwritten by an older version', async () => {
      await world.putDone({ id: 'versions', text: 'version two', version: 2, access: anne })
      const job = await world.putDone({
        id: 'versions',
        text: 'version one',
        version: 1,
        access: { viewers: ['user:bob'] },
      })
      expect(job).toMatchObject({ state: 'done', notes: [{ code: 'stale_version' }] })
      expect(await world.sees('user:anne', 'versions')).toBe('version two')
      expect(await world.sees('user:bob', 'versions')).toBeUndefined()
    })
  })

  describe('a request is refused', () => {
    test.each([
      ['where the service may not write', { id: 'r1', collection: 'other' }, 'forbidden', 'collection'],
      [
        'where there is no such collection, in the same words',
        { id: 'r1', collection: 'nowhere' },
        'forbidden',
        'collection',
      ],
      [
        'for a folder of another collection',
        { id: 'r1', access: { parents: ['folder:elsewhere'] } },
        'forbidden',
        'access.parents.0',
      ],
      [
        'for another collection as parent',
        { id: 'r1', access: { parents: ['collection:open'] } },
        'forbidden',
        'access.parents.0',
      ],
      [
        'for a new folder where the service does not tag',
        { id: 'r1', collection: 'untagged', access: { parents: ['folder:new'] } },
        'forbidden',
        'access.parents.0',
      ],
      [
        'for everybody where the collection is not public',
        { id: 'r1', access: { viewers: ['user:anne', 'user:*'] } },
        'forbidden',
        'access.viewers.1',
      ],
      [
        'for a declared field of another type',
        { id: 'r1', metadata: { year: 'late' } },
        'invalid_request',
        'metadata.year',
      ],
      [
        'for a type that is not read',
        { id: 'r1', content_base64: 'AA==', mime_type: 'image/png' },
        'unsupported_media_type',
        'mime_type',
      ],
    ])('%s', async (_, sketch, code, field) => {
      await world.ingest.saveFields(loader, { year: 'number', day: 'date' })
      await world.putDone({
        id: 'elsewhere-doc',
        collection: 'open',
        access: { parents: ['folder:elsewhere'] },
      })
      expect(await refusal(world.put(sketch))).toEqual({ code, field })
      expect(await world.database.query(`select 1 from documents where id = 'r1'`)).toEqual([])
    })

    test('in words that say what to check of a collection, and not whether it is there', async () => {
      const words =
        'This service may not write to a collection of this id. Check how it is spelled, and whether the service is among its writers: at the machine `remit service list` shows it.'
      for (const collection of ['other', 'nowhere']) {
        const isRefused = { code: 'forbidden', field: 'collection', public: words }
        await expect(world.put({ id: 'r1', collection })).rejects.toMatchObject(isRefused)
        const list = world.importLines([], { snapshot: { collection } })
        await expect(list).rejects.toMatchObject(isRefused)
      }
    })

    test('for moving to another collection, and the document stays where it is', async () => {
      await world.putDone({ id: 'settled', access: anne })
      expect(await refusal(world.put({ id: 'settled', collection: 'open', access: anne }))).toMatchObject({
        code: 'conflict',
      })
      const rows = await world.database.query(
        `select collection, accepted_revision from documents where id = 'settled'`,
      )
      expect(rows).toEqual([{ collection: 'closed', accepted_revision: 1 }])
    })

    test('for an id that another service filed where this one may not write, without a word of where', async () => {
      await world.putDone({ id: 'of-the-stranger', collection: 'other' }, stranger)
      expect(await refusal(world.put({ id: 'of-the-stranger', access: anne }))).toEqual({
        code: 'forbidden',
        field: 'id',
      })
    })

    test('while OpenFGA does not answer, and nothing is accepted', async () => {
      const { batchCheck } = world.fga
      Object.assign(world.fga, {
        batchCheck: async () => ({ verdicts: ['error'], requestIds: [] }),
      })
      expect(await refusal(world.put({ id: 'unasked' }))).toMatchObject({ code: 'authorization_unavailable' })
      Object.assign(world.fga, { batchCheck })
      expect(await world.database.query(`select 1 from documents where id = 'unasked'`)).toEqual([])
    })
  })

  describe('a withdrawal', () => {
    test('hides the text and removes every tuple, also those that others wrote', async () => {
      await world.putDone({ id: 'w1', access: anne })
      await world.fga.write({
        writes: [{ user: 'delegation:d1', relation: 'delegated_to', object: 'document:w1' }],
      })
      const job = await world.done(await world.ingest.withdraw(loader, 'w1'))
      expect(job).toMatchObject({ state: 'done', done: 1 })
      expect(await world.tuples('document:w1')).toEqual([])
      expect(
        await world.database.query(
          `select 1 from document_texts join documents using (doc_no) where id = 'w1'`,
        ),
      ).toEqual([])
    })

    test('of a missing document and of one in a foreign collection get the same answer', async () => {
      await world.putDone({ id: 'foreign', collection: 'other' }, stranger)
      expect(await refusal(world.ingest.withdraw(loader, 'foreign'))).toEqual({
        code: 'not_found',
        field: undefined,
      })
      expect(await refusal(world.ingest.withdraw(loader, 'missing'))).toEqual({
        code: 'not_found',
        field: undefined,
      })
      expect(await world.tuples('document:foreign')).toEqual(['collection:other filed_in'])
    })

    test('of its own document, where the service has no right any more, is forbidden, and no answer that it is gone', async () => {
      await world.putDone({ id: 'own', access: anne })
      const withoutRight = async (work: () => Promise<void>): Promise<void> => {
        const right = { user: loader.subject, relation: 'writer', object: 'collection:closed' } as const
        await world.fga.write({ deletes: [right] })
        try {
          await work()
        } finally {
          await world.fga.write({ writes: [right] })
        }
      }
      await withoutRight(async () => {
        const refused = { code: 'forbidden' }
        expect(await refusal(world.ingest.withdraw(loader, 'own'))).toMatchObject(refused)
        expect(await refusal(world.ingest.retag(loader, 'own', {}))).toMatchObject(refused)
        expect(await refusal(world.ingest.withdraw(stranger, 'own'))).toMatchObject({ code: 'not_found' })
      })
      await world.ingest.withdraw(loader, 'own')
      await withoutRight(async () => {
        expect(await refusal(world.ingest.withdraw(loader, 'own'))).toMatchObject({ code: 'not_found' })
        expect(await refusal(world.ingest.retag(loader, 'own', {}))).toMatchObject({ code: 'not_found' })
      })
    })

    test('lets nobody in who was let in before, when the id is used again', async () => {
      await world.putDone({ id: 'again', access: { viewers: ['user:bob'] } })
      await world.ingest.withdraw(loader, 'again')
      // A stranger's tuple that was written while nothing was there.
      await world.fga.write({
        writes: [{ user: 'user:carol', relation: 'viewer', object: 'document:again' }],
      })
      await world.putDone({ id: 'again', text: 'second life', access: anne })
      expect(await world.sees('user:anne', 'again')).toBe('second life')
      expect(await world.tuples('document:again')).toEqual(['collection:closed filed_in', 'user:anne viewer'])
    })

    test('overtakes content that still waits', async () => {
      const jobId = await world.put({ id: 'overtaken', access: anne })
      await world.ingest.withdraw(loader, 'overtaken')
      expect(await world.done(jobId)).toMatchObject({ state: 'done' })
      expect(await world.sees('user:anne', 'overtaken')).toBeUndefined()
      const [row] = await world.database.query(`select live_revision from documents where id = 'overtaken'`)
      expect(row).toEqual({ live_revision: null })
    })
  })

  describe('sensitivity does not end by a service', () => {
    const isSensitive = (id: string) => world.check('user:*', 'sensitive', `document:${id}`)
    test('when a PUT leaves it out', async () => {
      await world.putDone({ id: 's1', access: { ...anne, sensitive: true } })
      const job = await world.putDone({ id: 's1', access: anne })
      expect(job.notes).toMatchObject([{ id: 's1', code: 'sensitivity_kept' }])
      expect(await isSensitive('s1')).toBe(true)
    })

    test('when the document leaves a sensitive folder', async () => {
      await world.putDone({ id: 's2', access: { ...anne, parents: ['folder:vault'] } })
      await world.ingest.applyTuples(loader, {
        writes: [{ user: 'user:*', relation: 'sensitive', object: 'folder:vault' }],
        deletes: [],
      })
      const job = await world.putDone({ id: 's2', access: anne })
      expect(job.notes).toMatchObject([{ code: 'sensitivity_kept' }])
      expect(await isSensitive('s2')).toBe(true)
    })

    test('when it is withdrawn and comes back', async () => {
      await world.putDone({ id: 's3', access: { ...anne, sensitive: true } })
      await world.ingest.withdraw(loader, 's3')
      const job = await world.putDone({ id: 's3', access: anne })
      expect(job.notes).toMatchObject([{ code: 'sensitivity_kept' }])
      expect(await isSensitive('s3')).toBe(true)
    })

    test('when it is re-tagged, and an ordinary one stays ordinary', async () => {
      await world.putDone({ id: 's4', access: { ...anne, sensitive: true } })
      expect(await world.ingest.retag(loader, 's4', anne)).toMatchObject([{ code: 'sensitivity_kept' }])
      expect(await isSensitive('s4')).toBe(true)
      await world.putDone({ id: 's5', access: anne })
      expect(await world.ingest.retag(loader, 's5', { viewers: ['user:bob'] })).toEqual([])
      expect(await isSensitive('s5')).toBe(false)
    })
  })

  describe('re-tagging', () => {
    test('is in force when it returns: who was removed is out, who was added is in', async () => {
      await world.putDone({ id: 't1', access: anne })
      await world.ingest.retag(loader, 't1', { owner: 'user:dan', viewers: ['user:bob'] })
      expect(await world.sees('user:anne', 't1')).toBeUndefined()
      expect(await world.sees('user:bob', 't1')).toBeDefined()
      expect(await world.database.query(`select owner from documents where id = 't1'`)).toEqual([
        { owner: 'user:dan' },
      ])
    })

    test('keeps what was lent of the document', async () => {
      await world.putDone({ id: 't2', access: anne })
      await world.fga.write({
        writes: [{ user: 'delegation:d1', relation: 'delegated_to', object: 'document:t2' }],
      })
      await world.ingest.retag(loader, 't2', { viewers: ['user:bob'] })
      await world.putDone({ id: 't2', text: 'newer', access: { viewers: ['user:bob'] } })
      expect(await world.tuples('document:t2')).toContain('delegation:d1 delegated_to')
    })

    test('while new content waits adds people with it, not before', async () => {
      await world.putDone({ id: 't3', text: 'old words', access: anne })
      let release: () => void = () => undefined
      const gate = new Promise<void>((resolve) => {
        release = resolve
      })
      world.onStep = async (step, id) => {
        if (step === 'prepared' && id === 't3') await gate
      }
      const jobId = await world.put({ id: 't3', text: 'new words', access: anne })
      await world.ingest.retag(loader, 't3', { viewers: ['user:bob'] })
      expect(await world.sees('user:anne', 't3')).toBeUndefined()
      expect(await world.sees('user:bob', 't3')).toBeUndefined()
      release()
      await world.done(jobId)
      world.onStep = async () => undefined
      expect(await world.sees('user:bob', 't3')).toBe('new words')
      expect(await world.sees('user:anne', 't3')).toBeUndefined()
    })

    test('to what it is already is not put on record anew', async () => {
      await world.putDone({ id: 't6', access: anne })
      const recorded = async () =>
        (await world.database.query(`select from decision_records where event = 'access_changed'`)).length
      await world.ingest.retag(loader, 't6', {})
      const before = await recorded()
      await world.ingest.retag(loader, 't6', {})
      expect(await recorded()).toBe(before)
      await world.ingest.retag(loader, 't6', { owner: 'user:dan' })
      await world.ingest.retag(loader, 't6', { owner: 'user:dan', ...anne })
      expect(await recorded()).toBe(before + 2)
    })

    test('of what is missing, withdrawn or foreign gets the same answer', async () => {
      await world.putDone({ id: 't4', access: anne })
      await world.ingest.withdraw(loader, 't4')
      for (const id of ['t4', 'missing', 'foreign']) {
        expect(await refusal(world.ingest.retag(loader, id, anne))).toEqual({
          code: 'not_found',
          field: undefined,
        })
      }
    })

    test('that could not reach OpenFGA is completed by the next look', async () => {
      await world.putDone({ id: 't5', access: anne })
      world.onWrite = () => {
        throw new Error('unreachable')
      }
      await expect(world.ingest.retag(loader, 't5', { viewers: ['user:bob'] })).rejects.toThrow('unreachable')
      world.onWrite = () => undefined
      await world.ingest.drift()
      expect(await world.tuples('document:t5')).toEqual(['collection:closed filed_in', 'user:bob viewer'])
    })
  })

  test('the same idempotency key does a request once and refuses another request', async () => {
    const input = documentOf({ id: 'once', access: anne })
    const first = await world.ingest.put(loader, input, 'key-1')
    expect(await world.ingest.put(loader, input, 'key-1')).toBe(first)
    expect(
      await refusal(world.ingest.put(loader, documentOf({ id: 'once', text: 'other' }), 'key-1')),
    ).toMatchObject({
      code: 'idempotency_mismatch',
    })
    await world.done(first)
    expect(await world.database.query(`select accepted_revision from documents where id = 'once'`)).toEqual([
      { accepted_revision: 1 },
    ])
  })

  test('a job is told to its owner only', async () => {
    const jobId = await world.put({ id: 'mine', access: anne })
    expect(await world.ingest.job(jobId, stranger.subject)).toBeUndefined()
    expect(await world.ingest.job(jobId, loader.subject)).toMatchObject({ id: jobId, total: 1 })
  })

  test('each acceptance, publication and withdrawal is on record', async () => {
    await world.putDone({ id: 'recorded', access: anne })
    await world.ingest.withdraw(loader, 'recorded')
    const rows = await world.database.query(
      `select event, subject from decision_records where detail ->> 'document_id' = 'recorded' order by record_no`,
    )
    expect(rows).toEqual([
      { event: 'document_accepted', subject: 'service:loader' },
      { event: 'document_published', subject: 'service:remit' },
      { event: 'document_withdrawn', subject: 'service:loader' },
    ])
  })
})
