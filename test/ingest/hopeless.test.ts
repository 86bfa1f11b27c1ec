import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EmbeddingError } from '../../src/embed/embedder.ts'
import { createFailures } from '../../src/ingest/failures.ts'
import { ThreadError } from '../../src/ingest/parse/parsed.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { type IngestWorld, loader, openIngestWorld } from './world.ts'

const withCode = (code: string): Error => Object.assign(new Error('of Postgres'), { code })
const tooLarge = withCode('54000')

describe('a document whose task fails for the same reason', () => {
  let world: IngestWorld
  beforeAll(async () => {
    world = await openIngestWorld(undefined, { retryPauseSecondsMax: 0 })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  test('ten times is a failed item, and what was live of it stays', async () => {
    await world.putDone({ id: 'bad', text: 'of old', access: { viewers: ['user:anne'] } })
    let tries = 0
    world.onStep = async (step, id) => {
      if (step !== 'prepared' || id !== 'bad') return
      tries += 1
      throw tooLarge
    }
    const job = await world.done(
      await world.put({ id: 'bad', text: 'never', access: { viewers: ['user:anne'] } }),
    )
    expect(job).toMatchObject({ state: 'failed', failed: 1 })
    expect(job.errors).toMatchObject([{ id: 'bad', code: 'unreadable' }])
    expect(tries).toBe(10)
    expect(await world.sees('user:anne', 'bad')).toBe('of old')
    expect(world.logged).toContainEqual({
      event: 'document_given_up',
      fields: { document: 'bad', revision: 2, reason: 'Error 54000' },
    })
  }, 30_000)

  test('that is an outage is tried until the outage is over', async () => {
    let tries = 0
    world.onStep = async (step, id) => {
      if (step !== 'prepared' || id !== 'patient') return
      tries += 1
      if (tries <= 12) throw new AppError('storage_unavailable')
    }
    const jobId = await world.put({ id: 'patient' })
    const job = await world.ingest.waitForJob(jobId, loader.subject, AbortSignal.timeout(25_000))
    expect(job).toMatchObject({ state: 'done' })
    expect(tries).toBe(13)
  }, 30_000)
})

describe('failures', () => {
  const failTimes = (error: unknown, times: number, failures = createFailures()): boolean[] =>
    Array.from({ length: times }, () => failures.failed('t', error))

  test('of the data are hopeless at the tenth time', () => {
    expect(failTimes(withCode('22008'), 10)).toEqual([...Array.from({ length: 9 }, () => false), true])
  })

  test.each([
    new AppError('authorization_unavailable'),
    new AppError('storage_unavailable'),
    new EmbeddingError('unavailable', 'The endpoint does not answer.'),
    withCode('40001'),
    withCode('57014'),
    new ThreadError('EAGAIN'),
  ])('that say nothing of the document never count: $message', (error) => {
    const failures = createFailures()
    failures.published()
    expect(failTimes(error, 100, failures)).not.toContain(true)
  })

  test('of another kind count only while other documents go in', () => {
    const failures = createFailures()
    failures.published()
    expect(failTimes(new TypeError('of ours'), 50, failures)).not.toContain(true)
    failures.published()
    expect(failures.failed('t', new TypeError('of ours'))).toBe(true)
  })

  test('of a passage that a model refuses count only while other documents go in', () => {
    const failures = createFailures()
    const refused = new EmbeddingError('refused', 'The endpoint takes others.')
    expect(failTimes(refused, 20, failures)).not.toContain(true)
    failures.published()
    expect(failTimes(refused, 1, failures)).toEqual([true])
  })

  test('for one reason after another begin anew', () => {
    const failures = createFailures()
    expect(failTimes(withCode('22008'), 9, failures)).not.toContain(true)
    expect(failTimes(withCode('54000'), 9, failures)).not.toContain(true)
    failures.ended('t')
    expect(failTimes(withCode('54000'), 9, failures)).not.toContain(true)
  })
})
