import {
  clientCredentials,
  createProofKey,
  createWriter,
  isRemitError,
  type JobDesk,
  type Writer,
} from '@remit/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'

// A service's program on the real service: its key at the authorization server, real tokens, a port of
// loopback.
let world: IssuerWorld
let writer: Writer & JobDesk
beforeAll(async () => {
  world = await openIssuerWorld()
  writer = await writerOf()
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function writerOf(more: { readonly proofKey?: Awaited<ReturnType<typeof createProofKey>> } = {}) {
  const { key: privateKey, kid } = world.keys['loader-app']
  const token = clientCredentials({
    issuer: world.issuer,
    clientId: 'loader-app',
    key: { privateKey, kid },
    ...more,
  })
  return createWriter({ url: world.url, token })
}

const document = (id: string, viewers: readonly string[]) => ({
  id: `handbook/${id}`,
  collection: 'handbook',
  title: id,
  text: `The ferry of ${id} leaves at noon.`,
  access: { viewers },
})

/** Ids of what anne finds. */
async function found(): Promise<readonly string[]> {
  const response = await fetch(`${world.url}/retrieve`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${await world.token({ user: 'anne' })}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ query: 'ferry', top_k: 20 }),
  })
  const { results } = (await response.json()) as { readonly results: readonly { document_id: string }[] }
  return [...new Set(results.map(({ document_id }) => document_id))].sort()
}

test('a document is found once put returns, hidden once its access is taken, and gone once it is withdrawn', async () => {
  const job = await writer.put(document('skye', ['user:anne']))
  expect(job).toMatchObject({ state: 'done', failed: 0 })
  expect(await found()).toEqual(['handbook/skye'])
  await writer.setAccess('handbook/skye', {})
  expect(await found()).toEqual([])
  await writer.setAccess('handbook/skye', { viewers: ['user:anne'] })
  expect(await found()).toEqual(['handbook/skye'])
  await writer.withdraw('handbook/skye')
  expect(await found()).toEqual([])
})

test('a stream of lines is imported, and a snapshot withdraws what it does not list', async () => {
  const all = ['mull', 'iona', 'eigg'].map((id) => document(id, ['user:anne']))
  const lines = all.map((line) => `${JSON.stringify(line)}\n`).join('')
  expect(await writer.importAll(() => new Blob([lines]).stream())).toMatchObject({ done: 3, failed: 0 })
  expect(await found()).toEqual(['handbook/eigg', 'handbook/iona', 'handbook/mull'])
  const job = await writer.importAll(all.slice(1), { snapshotOf: 'handbook' })
  expect(job).toMatchObject({ withdrawn: 1, failed: 0 })
  expect(await found()).toEqual(['handbook/eigg', 'handbook/iona'])
})

test('a line that is refused is named in the job, and the others are in', async () => {
  const job = await writer.importAll([
    document('rum', ['user:anne']),
    { ...document('canna', []), title: '' },
  ])
  expect(job).toMatchObject({ failed: 1, errors: [{ line: 2, field: 'title' }] })
  expect(await found()).toContain('handbook/rum')
})

test('a refusal is typed: another collection, a tuple that is no service’s to write', async () => {
  const codeOf = (refused: Promise<unknown>) =>
    refused.then(
      () => undefined,
      (error: unknown) => isRemitError(error) && error.code,
    )
  expect(await codeOf(writer.put({ ...document('x', []), collection: 'nowhere' }))).toBe('forbidden')
  expect(
    await codeOf(
      writer.changeAccess({
        writes: [{ user: 'user:anne', relation: 'acting_for', object: 'agent:research-bot' }],
      }),
    ),
  ).toMatch(/^(forbidden|invalid_request)$/)
})

test('what failed is listed, retried without being sent again, and typed where that is not possible', async () => {
  const broken = { ...document('staffa', ['user:anne']), text: '{"ferry":', mime_type: 'application/json' }
  const refused = (asked: Promise<unknown>) =>
    asked.then(
      () => undefined,
      (error: unknown) => isRemitError(error) && [error.code, error.status],
    )
  expect(await refused(writer.put(broken))).toEqual(['invalid_request', 422])
  const { documents, cursor } = await writer.failedDocuments({ limit: 1 })
  expect([documents, cursor]).toMatchObject([
    [{ id: 'handbook/staffa', service: 'loader', code: 'unreadable', tries: 1, held: true }],
    null,
  ])
  const page = await writer.jobs({ state: 'failed', kind: 'document', limit: 1 })
  expect(page.jobs).toMatchObject([{ state: 'failed', kind: 'document', failed: 1, queued: 0 }])
  expect(await writer.job(page.jobs[0]?.id ?? '')).toMatchObject({ errors: [{ id: 'handbook/staffa' }] })
  expect(await refused(writer.retry('handbook/staffa'))).toEqual(['invalid_request', 422])
  expect((await writer.failedDocuments()).documents).toMatchObject([{ tries: 2 }])
  expect(await refused(writer.retry('handbook/skye'))).toEqual(['not_found', 404])
  await world.database.query('update failed_documents set content = null')
  expect(await refused(writer.retry('handbook/staffa'))).toEqual(['conflict', 409])
  expect(await refused(writer.jobs({ cursor: 'x' }))).toEqual(['invalid_request', 422])
})

test('with a key of its own its token is bound to that, and every write proves it', async () => {
  const bound = await writerOf({ proofKey: await createProofKey() })
  expect(await bound.put(document('muck', ['user:anne']))).toMatchObject({ state: 'done' })
})
