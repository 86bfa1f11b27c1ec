import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { noting, sentBy } from '../support/noting.ts'
import { openSourceWorld, type SourceWorld } from './world.ts'

let at: SourceWorld
let secret: string
beforeAll(async () => {
  at = await openSourceWorld({ wrap: noting })
})
afterAll(() => at?.[Symbol.asyncDispose]())
beforeEach(async () => {
  await at.reset()
  at.wiki.put('plan', { text: 'The zeppelin leaves.', readers: ['anne'] })
  await at.add()
  secret = await made()
  await run()
  await calm()
  at.wiki.calls.length = 0
})

const act = (body: object, user = 'dan') => at.call(user, 'POST', '/sources/wiki', body)
const made = async (): Promise<string> => String((await act({ action: 'hook' })).body['hook_secret'])
const run = () => at.world.service.sources.runDue()
/** Lets six seconds pass. */
async function calm(): Promise<void> {
  await at.world.database.query(
    `update sources set began_at = began_at - interval '6 seconds', ended_at = ended_at - interval '6 seconds'`,
  )
  await at.world.database.query(`update source_hooks set called_at = called_at - interval '6 seconds'`)
}
const signed = (body: string, key = secret): string =>
  `sha256=${createHmac('sha256', key).update(body).digest('hex')}`

interface Call {
  readonly id?: string
  readonly body?: string
  readonly signature?: string | undefined
}

async function call({ id = 'wiki', body = '{"text":"x"}', ...given }: Call = {}) {
  const signature = 'signature' in given ? given.signature : signed(body)
  const response = await at.world.call('POST', `/sources/${id}/hook`, {
    body,
    headers: {
      'content-type': 'text/plain',
      ...(signature !== undefined && { 'x-hub-signature-256': signature }),
    },
  })
  return { status: response.status, text: await response.text() }
}

const bad: readonly Call[] = [
  { id: 'nowhere' },
  { signature: undefined },
  { signature: 'sha256=' },
  { signature: `sha256=${'0'.repeat(64)}` },
  { signature: signed('{"text":"x"}', 'another') },
  { signature: signed('{"text":"x"}', '') },
]

test('a signed call wakes a reading, of whatever is in the source, and not of what the call says', async () => {
  at.wiki.put('plan', { text: 'The airship leaves.', readers: ['anne'] })
  await run()
  expect(at.wiki.calls).toEqual([])
  expect(await call()).toEqual({ status: 204, text: '' })
  await run()
  expect(at.wiki.calls).toContain('text plan')
  // Once.
  await calm()
  at.wiki.calls.length = 0
  await run()
  expect(at.wiki.calls).toEqual([])
  expect(await call({ body: '' })).toMatchObject({ status: 204 })
  expect((await act({ action: 'sync' })).body['source']).toMatchObject({
    has_hook: true,
    hook_called_at: expect.any(String),
  })
})

test('a call that nobody signed wakes nothing, and does not tell whether there is such a source, or a hook', async () => {
  const answers = new Set<string>()
  const statements = new Set<string>()
  const ask = async (one: Call): Promise<void> => {
    const sent = await sentBy(async () => {
      const { status, text } = await call(one)
      const { txn, ...problem } = JSON.parse(text) as { readonly txn: string }
      answers.add(JSON.stringify([status, problem]))
      expect(txn).toBeTruthy()
    })
    statements.add(JSON.stringify(sent))
  }
  for (const one of bad) await ask(one)
  await act({ action: 'end_hook' })
  await ask({})
  await at.world.service.sources.runDue()
  expect([...answers]).toEqual([expect.stringContaining('"not_found"')])
  expect([...statements]).toHaveLength(1)
  expect(at.wiki.calls).toEqual([])
})

test('a signature counts in small digits only, for the body as it came, and for the newest hook of its own source', async () => {
  const right = signed('{"text":"x"}')
  for (const signature of [
    right.toUpperCase(),
    right.replace('sha256=', ''),
    right.replace('sha256=', 'sha1='),
    `${right} `.repeat(2),
    `${right}00`,
  ])
    expect(await call({ signature }), signature).toMatchObject({ status: 404 })
  expect(await call({ body: '{"text":"y"}', signature: right })).toMatchObject({ status: 404 })
  const before = secret
  secret = await made()
  expect(await call({ signature: signed('{"text":"x"}', before) })).toMatchObject({ status: 404 })
  expect(await call()).toMatchObject({ status: 204 })
  // What the database holds signs nothing.
  const [row] = await at.world.database.query<{ salt: string }>('select salt from source_hooks')
  expect(await call({ signature: signed('{"text":"x"}', row?.salt) })).toMatchObject({ status: 404 })
  // The salt of one source at another one.
  await at.call('dan', 'POST', '/sources', {
    id: 'other',
    kind: 'wiki',
    settings: {},
    collections: ['wiki-more'],
  })
  await at.world.database.query(
    `insert into source_hooks (source, salt) select 'other', salt from source_hooks`,
  )
  expect(await call({ id: 'other' })).toMatchObject({ status: 404 })
})

test('many calls in one reading make one more after it, some seconds later', async () => {
  await call()
  let calls = 0
  at.wiki.before = async (name) => {
    if (name !== 'changes') return
    calls += 1
    for (let again = 0; again < 5; again += 1) await call()
  }
  await run()
  await run()
  expect(calls).toBe(1)
  at.wiki.before = (name) => {
    if (name === 'changes') calls += 1
  }
  await calm()
  await run()
  expect(calls).toBe(2)
  await calm()
  await run()
  expect(calls).toBe(2)
})

test('a call whose reading died makes another one', async () => {
  await call()
  // As it is left by a process that is killed.
  await at.world.database.query('update sources set began_at = clock_timestamp()')
  await run()
  expect(at.wiki.calls).toContain('changes')
})

test('a call ends neither the pause after a failure, nor that of a paused source', async () => {
  at.wiki.isClosed = true
  await call()
  await run()
  expect(await at.shown()).toMatchObject({ source: { failures: 1 } })
  await calm()
  at.wiki.calls.length = 0
  expect(await call()).toMatchObject({ status: 204 })
  await run()
  expect(at.wiki.calls).toEqual([])
  at.wiki.isClosed = false
  await at.sync()
  await act({ action: 'pause' })
  await calm()
  at.wiki.calls.length = 0
  expect(await call()).toMatchObject({ status: 204 })
  await run()
  expect(at.wiki.calls).toEqual([])
})

test('administrators alone make a hook, of a source that two agreed on, and each is on record', async () => {
  for (const action of ['hook', 'end_hook'])
    expect(await act({ action }, 'anne')).toMatchObject({ status: 403 })
  const proposal = { id: 'other', kind: 'wiki', settings: {}, collections: ['wiki-more'] }
  await at.call('dan', 'POST', '/sources', proposal)
  expect(await at.call('dan', 'POST', '/sources/other', { action: 'hook' })).toMatchObject({ status: 409 })
  await act({ action: 'end_hook' }, 'carol')
  const rows = await at.world.database.query<{ event: string; subject: string }>(
    `select event, subject from decision_records where event like 'source_hook_%' order by record_no desc limit 2`,
  )
  expect(rows).toEqual([
    { event: 'source_hook_ended', subject: 'user:carol' },
    { event: 'source_hook_made', subject: 'user:dan' },
  ])
  expect(JSON.stringify(await at.call('dan', 'GET', '/sources/wiki'))).not.toContain(secret)
})

test('a body over 1 MiB is refused, whoever signed it', async () => {
  const body = 'x'.repeat(1024 * 1024 + 1)
  expect(await call({ body })).toMatchObject({ status: 413 })
  expect(await call({ id: 'nowhere', body })).toMatchObject({ status: 413 })
})
