import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRevocations, type RevocationTarget } from '../../src/delegation/revocation/revocations.ts'
import { backends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'

/**
 * Takes something away by the way that its title names; `id` is the document and the name of all that is
 * around it.
 */
interface Removal {
  readonly title: string
  readonly access: (id: string) => object
  /** Tuples written once the document is in: the first mention of a folder removes what was found on it. */
  readonly tuples?: (id: string) => readonly string[]
  readonly remove: (world: World, id: string) => Promise<void>
}

/** Everything small on one machine, and everything as in production. */
const ways = backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA')

describe.each(ways)(
  'on $name, at the very next question with the same token',
  { timeout: 60_000 },
  (backend) => {
    describe('what was taken away is gone', backend.options, () => {
      let world: World
      let revocations: ReturnType<typeof createRevocations>
      beforeAll(async () => {
        world = await openWorld({ backend })
        await world.service.services.save({
          name: 'loader',
          collections: ['handbook', 'finance'],
          prefixes: ['team-'],
        })
        revocations = createRevocations({ sql: world.database, clock: { now: Date.now } })
      }, 120_000)
      afterAll(() => world?.[Symbol.asyncDispose]())

      for (const consistency of ['fast', 'strict']) {
        describe(`asked with ${consistency}`, () => {
          test.each(removals)('$title', async ({ title, access, tuples, remove }) => {
            const id = idOf(`${title} ${consistency}`)
            await world.put({ [id]: { text: `All about ${id}.`, access: access(id) } })
            if (tuples) await world.write(...tuples(id))
            const anne = await world.token({ user: 'anne' })
            await world.lend('anne', 'research-bot', `document:${id}`)
            const agent = await world.token({ user: 'anne', agent: 'research-bot' })
            expect([await answersOf(anne, id), await answersOf(agent, id)]).toEqual([open(id), open(id)])
            await remove(world, id)
            expect([await answersOf(anne, id), await answersOf(agent, id)]).toEqual([closed, closed])
          })

          test('for the agent alone: the document became sensitive', async () => {
            const id = idOf(`sensitive ${consistency}`)
            await world.put({ [id]: { text: `All about ${id}.`, access: { viewers: ['user:anne'] } } })
            const anne = await world.token({ user: 'anne' })
            await world.lend('anne', 'research-bot', `document:${id}`)
            const agent = await world.token({ user: 'anne', agent: 'research-bot' })
            expect(await answersOf(agent, id)).toEqual(open(id))
            await retag(world, id, { viewers: ['user:anne'], sensitive: true })
            // It may still be told that there is something to ask its person for.
            const askable = { search: '', read: 403 }
            expect([await answersOf(anne, id), await answersOf(agent, id)]).toEqual([open(id), askable])
          })

          test('for the agent alone: the delegation was revoked', async () => {
            const { id, delegation, token } = await lent('delegation', 'research-bot')
            await world.service.delegations.revoke(delegation)
            expect(await answersOf(token, id)).toEqual({ search: 403, read: 403 })
          })

          test('for that agent alone: it was disabled', async () => {
            const bot = `bot-${consistency}`
            const { ownIssuer } = world.service
            await world.service.agents.save({
              id: bot,
              owner: 'user:dan',
              purpose: 'tests',
              issuer: ownIssuer,
              sub: bot,
            })
            const { id, token } = await lent('agent', bot)
            const other = await lent('other agent', 'other-bot')
            await world.service.agents.disable(bot)
            expect(await answersOf(token, id)).toEqual({ search: 403, read: 403 })
            expect(await answersOf(other.token, other.id)).toEqual(open(other.id))
          })

          test.each(['jti', 'grant'] as const)('for that token alone: its %s was revoked', async (kind) => {
            const { id, token } = await lent(kind, 'research-bot')
            const other = await world.token({ user: 'carol', agent: 'research-bot' })
            const { iss = '', jti = '', grant_id } = decodeJwt<{ grant_id: string }>(token)
            await revoke({ kind, issuer: iss, id: kind === 'jti' ? jti : grant_id })
            expect(await answersOf(token, id)).toEqual({ search: 401, read: 401 })
            expect(await answersOf(other, id)).toEqual(open(id))
          })

          test('for every token of hers: the person was revoked', async () => {
            const key = `eve-${consistency}`
            await world.service.people.save({ key, name: key })
            const { id, token } = await lent('subject', 'research-bot', key)
            const own = await world.token({ user: key })
            expect(await answersOf(own, id)).toEqual(open(id))
            await revoke({ kind: 'subject', id: `user:${key}` })
            expect([await answersOf(own, id), await answersOf(token, id)]).toEqual([
              { search: 401, read: 401 },
              { search: 401, read: 401 },
            ])
          })

          test('for every token in whose chain it stands: the agent was revoked', async () => {
            const bot = `chained-${consistency}`
            const { ownIssuer } = world.service
            await world.service.agents.save({
              id: bot,
              owner: 'user:dan',
              purpose: 'tests',
              issuer: ownIssuer,
              sub: bot,
            })
            const { id, token } = await lent('chain', bot)
            await revoke({ kind: 'agent', id: bot })
            expect(await answersOf(token, id)).toEqual({ search: 401, read: 401 })
          })
        })

        /** Both ways to the text: what a search gives of the document, and what reading it whole gives. */
        async function answersOf(token: string, id: string): Promise<Answers> {
          const query = { query: `All about ${id}.`, consistency, top_k: 100 }
          const asked = await world.call('POST', '/retrieve', { token, body: query })
          const body = (await asked.json()) as { results?: readonly { document_id: string; text: string }[] }
          const found = (body.results ?? []).filter(({ document_id }) => document_id === id)
          const read = await world.call('GET', `/documents/${encodeURIComponent(id)}`, { token })
          await read.arrayBuffer()
          return {
            search: asked.status === 200 ? found.map(({ text }) => text).join() : asked.status,
            read: read.status,
          }
        }

        /** A document that the person reads, lent to the agent, and the agent's token, which works. */
        async function lent(what: string, agent: string, user = 'carol') {
          const id = idOf(`${what} ${consistency}`)
          await world.put({ [id]: { text: `All about ${id}.`, access: { viewers: [`user:${user}`] } } })
          const delegation = await world.lend(user, agent, `document:${id}`)
          const token = await world.token({ user, agent })
          expect(await answersOf(token, id)).toEqual(open(id))
          return { id, delegation, token }
        }
      }

      test('of a document that was deleted neither text nor vector is kept, once its job is done', async () => {
        await world.put({ shredded: { text: 'All about shredded.', access: { viewers: ['user:anne'] } } })
        const kept = () =>
          world.database.query(
            `select chunk_id, embedding from chunks left join documents using (doc_no)
           where id = 'shredded' or id is null`,
          )
        expect(await kept()).toHaveLength(1)
        const token = await world.token({ service: 'loader' })
        const headers = { prefer: 'wait' }
        expect((await world.call('DELETE', '/documents/shredded', { token, headers })).status).toBe(200)
        expect(await kept()).toEqual([])
      })

      const revoke = (what: RevocationTarget) => revocations.revoke(what, { reason: 'tests' })
    })
  },
)

interface Answers {
  /** The passages found, or why not. */
  readonly search: string | number
  readonly read: number
}
const open = (id: string): Answers => ({ search: `All about ${id}.`, read: 200 })
const closed: Answers = { search: '', read: 404 }

const idOf = (title: string): string => title.replace(/[^a-z]+/gi, '-')

const removals: readonly Removal[] = [
  {
    title: 'a reader by PUT access',
    access: () => ({ viewers: ['user:anne', 'user:bob'] }),
    remove: (world, id) => retag(world, id, { viewers: ['user:bob'] }),
  },
  {
    title: 'a group by PUT access',
    access: (id) => ({ viewers: [`group:team-${id}#member`] }),
    tuples: (id) => [`user:anne member group:team-${id}`],
    remove: (world, id) => retag(world, id, {}),
  },
  {
    title: 'the owner by PUT access',
    access: () => ({ owner: 'user:anne' }),
    remove: (world, id) => retag(world, id, { owner: 'user:bob' }),
  },
  {
    title: 'who was blocked by PUT access',
    access: () => ({ viewers: ['user:anne'] }),
    remove: (world, id) => retag(world, id, { viewers: ['user:anne'], blocked: ['user:anne'] }),
  },
  {
    title: 'a parent by PUT access',
    access: (id) => ({ parents: [`folder:${id}`] }),
    tuples: folderOf,
    remove: (world, id) => retag(world, id, {}),
  },
  {
    title: 'a reader by POST access',
    access: () => ({ viewers: ['user:anne'] }),
    remove: (world, id) => taken(world, `user:anne viewer document:${id}`),
  },
  {
    title: 'a folder reader by POST access',
    access: (id) => ({ parents: [`folder:${id}`] }),
    tuples: folderOf,
    remove: (world, id) => taken(world, `user:anne viewer folder:${id}`),
  },
  {
    title: 'a member of a group by POST access',
    access: (id) => ({ viewers: [`group:team-${id}#member`] }),
    tuples: (id) => [`user:anne member group:team-${id}`],
    remove: (world, id) => taken(world, `user:anne member group:team-${id}`),
  },
  {
    title: 'a member of a group within the group by POST access',
    access: (id) => ({ viewers: [`group:team-outer-${id}#member`] }),
    tuples: (id) => [
      `user:anne member group:team-${id}`,
      `group:team-${id}#member member group:team-outer-${id}`,
    ],
    remove: (world, id) => taken(world, `group:team-${id}#member member group:team-outer-${id}`),
  },
  {
    title: 'who was blocked by POST access',
    access: () => ({ viewers: ['user:anne'] }),
    remove: (world, id) => change(world, { writes: [toKey(`user:anne blocked document:${id}`)] }),
  },
  {
    title: 'the document by DELETE',
    access: () => ({ viewers: ['user:anne'] }),
    remove: (world, id) => sent(world, 'DELETE', `/documents/${id}`),
  },
]

function folderOf(id: string): readonly string[] {
  return [`user:anne viewer folder:${id}`]
}

const retag = (world: World, id: string, access: object) =>
  sent(world, 'PUT', `/documents/${id}/access`, access)
const taken = (world: World, tuple: string) => change(world, { deletes: [toKey(tuple)] })
const change = (world: World, body: object) => sent(world, 'POST', '/access', body)

function toKey(line: string): object {
  const [user, relation, object] = line.split(' ')
  return { user, relation, object }
}

/** What the service asks is in force once this is answered; no more is waited for. */
async function sent(world: World, method: string, path: string, body?: object): Promise<void> {
  const token = await world.token({ service: 'loader' })
  const response = await world.call(method, path, { token, ...(body !== undefined && { body }) })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
}
