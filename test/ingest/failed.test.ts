import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../src/ingest/access-rights.ts'
import { forgetFailed } from '../../src/ingest/failed-documents.ts'
import { ParseError } from '../../src/ingest/parse/parsed.ts'
import { describeBackends } from '../support/backends.ts'
import { type IngestWorld, loader, openIngestWorld, type Sketch, stranger, tuple } from './world.ts'

const root = { ...loader, subject: 'user:root', client: 'console' } as const
const page = { limit: 200 }

describeBackends('content that failed', (backend) => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(backend, { retryPauseSecondsMax: 0 })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  // Ids whose content cannot be read for as long as they are in it.
  const broken = new Set<string>()
  beforeEach(() => {
    broken.clear()
    world.onStep = async (step, id) => {
      if (step === 'prepared' && broken.has(id)) throw new ParseError('unreadable', 'Not read here.')
    }
  })
  afterEach(() => {
    world.onAsk = async () => undefined
    world.onRead = async () => undefined
  })

  async function fail(sketch: Sketch): Promise<string> {
    broken.add(sketch.id)
    const { id, state } = await world.putDone(sketch)
    expect(state).toBe('failed')
    broken.delete(sketch.id)
    return id
  }
  const retry = (id: string) => world.ingest.retry(id, { by: loader, isAdministrator: false })
  const retried = async (id: string) => world.done((await retry(id)).jobId)
  const failedOf = async (service = 'loader') =>
    (await world.ingest.failed({ service, isOwn: true }, page)).documents
  const failedIds = async () => (await failedOf()).map(({ id }) => id)
  const codeOf = (asked: Promise<unknown>) =>
    asked.then(
      () => 'given',
      (error: { code?: unknown }) => error.code,
    )

  test('is told to the service that sent it, without title or content, and goes in by a retry', async () => {
    await fail({ id: 'a/1', text: 'The otter.', access: { viewers: ['user:anne'] } })
    const [told] = await failedOf()
    expect(told).toEqual({
      id: 'a/1',
      collection: 'closed',
      service: 'loader',
      code: 'unreadable',
      detail: 'Not read here.',
      failedAt: expect.any(Date),
      tries: 1,
      isHeld: true,
    })
    expect(await world.sees('user:anne', 'a/1')).toBeUndefined()
    expect(await retried('a/1')).toMatchObject({ kind: 'retry', state: 'done', done: 1, service: 'loader' })
    expect(await world.sees('user:anne', 'a/1')).toBe('The otter.')
    expect(await failedOf()).toEqual([])
    const [row] = await world.database.query('select title, source from documents where id = $1', ['a/1'])
    expect(row).toEqual({ title: 'Title of a/1', source: 'loader' })
  })

  test('fails once more where the cause is not gone, and counts how often', async () => {
    await fail({ id: 'a/2' })
    broken.add('a/2')
    expect(await retried('a/2')).toMatchObject({
      state: 'failed',
      errors: [{ id: 'a/2', code: 'unreadable' }],
    })
    expect(await retried('a/2')).toMatchObject({ state: 'failed' })
    expect(await failedOf()).toMatchObject([{ id: 'a/2', tries: 3, isHeld: true }])
    broken.delete('a/2')
    expect(await retried('a/2')).toMatchObject({ state: 'done' })
  })

  test('retried by several at once, and again after that, is one job', async () => {
    await fail({ id: 'a/3' })
    const begun = await Promise.all([retry('a/3'), retry('a/3'), retry('a/3')])
    const ids = new Set(begun.map(({ jobId }) => jobId))
    expect(ids.size).toBe(1)
    await world.done([...ids][0] ?? '')
    expect((await retry('a/3')).jobId).toBe([...ids][0])
    const accepted = await world.database.query(
      `select 1 from decision_records where event = 'document_accepted' and detail ->> 'document_id' = 'a/3'`,
    )
    expect(accepted).toHaveLength(2)
  })

  test('of a document that was never read, failed or was sent again is not there to be retried', async () => {
    await world.putDone({ id: 'a/4' })
    for (const id of ['never/was', 'a/4']) expect(await codeOf(retry(id))).toBe('not_found')
    await fail({ id: 'a/4', text: 'Failed.' })
    await world.putDone({ id: 'a/4', text: 'Sent again.', access: { viewers: ['user:anne'] } })
    expect(await codeOf(retry('a/4'))).toBe('not_found')
    expect(await world.sees('user:anne', 'a/4')).toBe('Sent again.')
    expect(await world.database.query('select 1 from failed_documents')).toEqual([])
  })

  test('goes with a withdrawal, and no retry brings it back', async () => {
    await fail({ id: 'a/5' })
    await world.done(await world.ingest.withdraw(loader, 'a/5'))
    expect(await world.database.query('select 1 from failed_documents')).toEqual([])
    expect(await codeOf(retry('a/5'))).toBe('not_found')
    await fail({ id: 'a/5' })
    expect(await retried('a/5')).toMatchObject({ state: 'done' })
    await world.done(await world.ingest.withdraw(loader, 'a/5'))
    expect(await codeOf(retry('a/5'))).toBe('not_found')
  })

  test.each(['sent again', 'withdrawn'])(
    'of a document that is %s while the retry is asked for takes no effect',
    async (how) => {
      await fail({ id: 'a/6', text: 'Failed.', access: { viewers: ['user:anne'] } })
      world.onAsk = async () => {
        world.onAsk = async () => undefined
        if (how === 'withdrawn') await world.done(await world.ingest.withdraw(loader, 'a/6'))
        else await world.putDone({ id: 'a/6', text: 'New.', access: { viewers: ['user:bob'] } })
      }
      expect(await codeOf(retry('a/6'))).toBe('not_found')
      expect(await world.sees('user:anne', 'a/6')).toBeUndefined()
      expect(await world.sees('user:bob', 'a/6')).toBe(how === 'withdrawn' ? undefined : 'New.')
    },
  )

  test('comes with the access that it was sent with where nobody changed it since', async () => {
    await world.putDone({ id: 'a/7', text: 'Old.', access: { viewers: ['user:anne'] } })
    await fail({ id: 'a/7', text: 'New.', access: { viewers: ['user:bob'], blocked: ['user:eve'] } })
    expect(await world.sees('user:bob', 'a/7')).toBeUndefined()
    expect(await retried('a/7')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:bob', 'a/7')).toBe('New.')
    expect(await world.sees('user:anne', 'a/7')).toBeUndefined()
    expect(await world.check('user:eve', 'blocked', 'document:a/7')).toBe(true)
  })

  test('comes with the access that was set since, never with its own', async () => {
    await world.putDone({ id: 'a/8', text: 'Old.', access: { viewers: ['user:anne'] } })
    await fail({ id: 'a/8', text: 'New.', access: { viewers: ['user:anne', 'user:bob'] } })
    await world.ingest.retag(loader, 'a/8', { viewers: ['user:carol'] })
    expect(await retried('a/8')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:carol', 'a/8')).toBe('New.')
    for (const user of ['user:anne', 'user:bob']) expect(await world.sees(user, 'a/8')).toBeUndefined()
  })

  test('comes with the access that was set since, where nothing of the document was ever live', async () => {
    await fail({ id: 'a/21', text: 'New.', access: { viewers: ['user:anne'] } })
    await world.ingest.retag(loader, 'a/21', { viewers: ['user:carol'] })
    expect(await world.tuples('document:a/21')).toEqual([])
    expect(await codeOf(world.ingest.retag(stranger, 'a/21', {}))).toBe('not_found')
    expect(await retried('a/21')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:carol', 'a/21')).toBe('New.')
    expect(await world.sees('user:anne', 'a/21')).toBeUndefined()
  })

  test('comes without whom a change of single tuples took away since, also where they never were in force', async () => {
    const caller: Caller = { kind: 'service', writer: loader, scopes: new Set(['docs.write']), prefixes: [] }
    await world.putDone({ id: 'a/9', text: 'Old.', access: { viewers: ['user:anne'] } })
    await fail({ id: 'a/9', text: 'New.', access: { viewers: ['user:anne', 'user:bob', 'user:carol'] } })
    await world.ingest.changeAccess(caller, {
      writes: [tuple('user:carol blocked document:a/9')],
      deletes: [{ user: 'user:bob', relation: 'viewer', object: 'document:a/9' }],
    })
    expect(await retried('a/9')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:anne', 'a/9')).toBe('New.')
    for (const user of ['user:bob', 'user:carol']) expect(await world.sees(user, 'a/9')).toBeUndefined()
  })

  test('comes with the access of now, if that changes while the retry is asked for', async () => {
    await fail({ id: 'a/10', text: 'New.', access: { viewers: ['user:anne'] } })
    let asked = 0
    world.onAsk = async () => {
      asked += 1
      // Once it was read, and before it is taken.
      if (asked === 2)
        await world.database.query(
          `update failed_documents set access = replace(access::text, 'user:anne', 'user:bob')::jsonb`,
        )
    }
    expect(await retried('a/10')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:bob', 'a/10')).toBe('New.')
    expect(await world.sees('user:anne', 'a/10')).toBeUndefined()
  })

  test('of somebody who was moved to another key comes under that key', async () => {
    await fail({ id: 'a/11', text: 'Hers.', access: { viewers: ['user:old'] } })
    await world.ingest.renameSubject('user:old', 'user:new')
    expect(await retried('a/11')).toMatchObject({ state: 'done' })
    expect(await world.sees('user:new', 'a/11')).toBe('Hers.')
    expect(await world.sees('user:old', 'a/11')).toBeUndefined()
  })

  test('stays sensitive', async () => {
    await fail({ id: 'a/12', access: { viewers: ['user:anne'], sensitive: true } })
    await retried('a/12')
    expect(await world.check('user:*', 'sensitive', 'document:a/12')).toBe(true)
  })

  test('is not there for another service, nor for its own once that may not write where it is filed', async () => {
    await fail({ id: 'a/13' })
    expect(await codeOf(world.ingest.retry('a/13', { by: stranger, isAdministrator: false }))).toBe(
      'not_found',
    )
    expect(await failedOf('stranger')).toEqual([])
    const writer = tuple('service:loader writer collection:closed')
    await world.fga.write({ writes: [], deletes: [writer] })
    try {
      expect(await codeOf(retry('a/13'))).toBe('not_found')
      expect(await failedOf()).toEqual([])
      const byRoot = world.ingest.retry('a/13', { by: root, isAdministrator: true })
      await expect(byRoot).rejects.toMatchObject({ code: 'conflict' })
    } finally {
      await world.fga.write({ writes: [writer], deletes: [] })
    }
    expect(await failedIds()).toEqual(['a/13'])
    await retried('a/13')
  })

  test('is the same for a service that loses its collection after it was asked about', async () => {
    await fail({ id: 'a/14' })
    const writer = tuple('service:loader writer collection:closed')
    world.onAsk = async () => {
      world.onAsk = async () =>
        void (await world.fga.write({ writes: [], deletes: [writer] }).catch(() => undefined))
    }
    try {
      expect(await codeOf(retry('a/14'))).toBe('not_found')
    } finally {
      world.onAsk = async () => undefined
      await world.fga.write({ writes: [writer], deletes: [] })
    }
    expect(await failedOf()).toMatchObject([{ id: 'a/14', tries: 1, isHeld: true }])
    await retried('a/14')
  })

  test('is retried by an administrator as a job of its service, and who asked is on record', async () => {
    await fail({ id: 'a/15' })
    const { jobId, owner } = await world.ingest.retry('a/15', { by: root, isAdministrator: true })
    expect(owner).toBe('service:loader')
    expect(await world.done(jobId)).toMatchObject({ state: 'done', service: 'loader' })
    expect((await retry('a/15')).jobId).toBe(jobId)
    const rows = await world.database.query(
      `select subject, detail ->> 'document_id' as id from decision_records where event = 'document_retried' order by record_no desc limit 1`,
    )
    expect(rows).toEqual([{ subject: 'user:root', id: 'a/15' }])
  })

  test('is held for seven days and within the bounds of its service; then it has to be sent again', async () => {
    await fail({ id: 'a/16' })
    await world.database.query(`update failed_documents set failed_at = now() - interval '6 days 23 hours'`)
    await forgetFailed(world.database)
    expect(await failedOf()).toMatchObject([{ isHeld: true }])
    await world.database.query(`update failed_documents set failed_at = now() - interval '7 days 1 minute'`)
    await forgetFailed(world.database)
    expect(await failedOf()).toMatchObject([{ id: 'a/16', code: 'unreadable', isHeld: false }])
    const held = await world.database.query<{ left: string }>(
      `select coalesce(title, uri, mime_type, access::text, metadata::text) as left from failed_documents`,
    )
    expect(held).toEqual([{ left: null }])
    await expect(retry('a/16')).rejects.toMatchObject({
      code: 'conflict',
      public: expect.stringContaining('Send the document again'),
    })

    await fail({ id: 'a/17' })
    await world.database.query('update failed_documents set bytes = $1 where content is not null', [
      256 * 1024 * 1024,
    ])
    await fail({ id: 'a/18' })
    expect((await failedOf()).map(({ id, isHeld }) => [id, isHeld])).toEqual([
      ['a/18', false],
      ['a/17', true],
      ['a/16', false],
    ])
    for (const id of ['a/16', 'a/17', 'a/18']) await world.done(await world.ingest.withdraw(loader, id))
  })

  test('that ended the process goes in alone, with all its tries again', async () => {
    let isRead = false
    world.onRead = async () => {
      isRead = true
    }
    // As three processes left it.
    await world.database.query(
      'alter table revisions alter column deaths set default 4, alter column deaths_alone set default 3',
    )
    try {
      expect(await world.putDone({ id: 'a/19', text: 'Kills.' })).toMatchObject({ state: 'failed' })
    } finally {
      await world.database.query(
        'alter table revisions alter column deaths set default 0, alter column deaths_alone set default 0',
      )
    }
    expect(isRead).toBe(false)
    expect(await failedOf()).toContainEqual(
      expect.objectContaining({ id: 'a/19', detail: 'Reading this content ended the process.' }),
    )
    const seen: unknown[] = []
    world.onRead = async () => {
      seen.push(...(await world.database.query('select deaths, deaths_alone, tries from revisions')))
    }
    expect(await retried('a/19')).toMatchObject({ state: 'done' })
    expect(seen).toEqual([{ deaths: 2, deaths_alone: 1, tries: 2 }])
  })

  test('and ended no process goes in beside others: nobody’s reading keeps it waiting', async () => {
    await fail({ id: 'a/22', text: 'Plain.', access: { viewers: ['user:anne'] } })
    const [isHeld, letGo] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    world.onRead = async () => {
      world.onRead = async () => undefined
      isHeld.resolve()
      await letGo.promise
    }
    const slow = await world.put({ id: 'b/22', collection: 'other' }, stranger)
    await isHeld.promise
    try {
      expect(await retried('a/22')).toMatchObject({ state: 'done' })
    } finally {
      letGo.resolve()
    }
    expect(await world.sees('user:anne', 'a/22')).toBe('Plain.')
    expect(await world.done(slow, stranger)).toMatchObject({ state: 'done' })
  })

  test('whose process dies as soon as its retry is accepted goes in after the next start, once', async () => {
    await fail({ id: 'a/20', text: 'Late.', access: { viewers: ['user:anne'] } })
    world.onStep = async (step) => {
      if (step === 'accepted' || step === 'prepared') throw new Error('the process died here')
    }
    await expect(retry('a/20')).rejects.toThrow('died')
    await world.restart()
    const { jobId } = await retry('a/20')
    expect(await world.done(jobId)).toMatchObject({ state: 'done', kind: 'retry' })
    expect(await world.sees('user:anne', 'a/20')).toBe('Late.')
  })
})

describe('a list of what failed', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld()
    world.onStep = async (step) => {
      if (step === 'prepared') throw new ParseError('unreadable', 'Not read here.')
    }
  })
  afterAll(() => world[Symbol.asyncDispose]())

  test('is read in pages that stay as they are while more fails, and ends', async () => {
    for (const n of [1, 2, 3, 4, 5]) await world.putDone({ id: `p/${n}` })
    const filter = { service: 'loader', isOwn: true }
    const first = await world.ingest.failed(filter, { limit: 2 })
    await world.putDone({ id: 'p/6' })
    const second = await world.ingest.failed(filter, { limit: 2, cursor: first.cursor })
    const third = await world.ingest.failed(filter, { limit: 2, cursor: second.cursor })
    expect([first, second, third].map(({ documents }) => documents.map(({ id }) => id))).toEqual([
      ['p/5', 'p/4'],
      ['p/3', 'p/2'],
      ['p/1'],
    ])
    expect(third.cursor).toBeUndefined()
    await expect(world.ingest.failed(filter, { limit: 2, cursor: 'x' })).rejects.toMatchObject({
      code: 'invalid_request',
      field: 'cursor',
    })
    expect((await world.ingest.failed({ ...filter, code: 'too_large' }, { limit: 2 })).documents).toEqual([])
  })
})
