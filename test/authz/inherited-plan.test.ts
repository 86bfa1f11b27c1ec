import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { backends } from '../support/backends.ts'
import { openWorld, people, type World } from '../support/world.ts'

const textOf = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const texts = (folder: string) => ({
  model: textOf(`${folder}model.fga`),
  allow_list: textOf(`${folder}model.allow-list.yaml`),
})
const former = texts('test/fixtures/before-zones/')
const current = texts('')

interface Plan {
  readonly plan_id: string
  readonly complete: boolean
  readonly tests: { readonly failed: number; readonly hold: boolean }
  readonly can_read: Sides
  readonly can_read_delegated: Sides
  readonly refusals: readonly object[]
  readonly warnings: readonly { readonly rule: string; readonly relation: string }[]
}
type Sides = Readonly<
  Record<'gained' | 'lost', { readonly count: number; readonly samples: readonly object[] }>
>

const ways = backends.filter(({ name }) => name === 'PGlite × engine' || name === 'Postgres × OpenFGA')

describe.each(ways)(
  'a deployment of before there were blocks above documents, on $name',
  ({ options, ...backend }) => {
    describe('', options, () => {
      let world: World
      beforeAll(async () => {
        world = await openWorld({
          backend,
          env: { MODEL_APPLY_APPROVERS: '2', WRITE_DEADLINE_MS: '60000' },
        })
        for (const user of ['dan', 'carol'])
          await world.service.administrators.add(`user:${user}`, ['security.write'])
        // As it was put in force then, and nothing of what came later stored.
        await putInForce(former, 'It is as it was')
        await world.put({
          'in-folder': { access: { parents: ['folder:deep'] } },
          'blocked-in-folder': { access: { parents: ['folder:deep'], blocked: ['user:anne'] } },
          mentioning: { access: { parents: ['folder:top'], blocked: people.map((key) => `user:${key}`) } },
          shared: { access: { viewers: ['user:bob', 'group:eng#member'] } },
          secret: { access: { viewers: ['user:anne'], sensitive: true } },
          'in-collection': { access: { parents: ['collection:handbook'] } },
          elsewhere: { collection: 'finance', access: { viewers: ['user:carol'] } },
        })
        await world.write(
          'user:anne member group:eng',
          'folder:top parent folder:deep',
          'collection:handbook parent folder:top',
          'group:eng#member viewer folder:top',
          'user:bob viewer collection:handbook',
        )
        await world.lend('anne', 'research-bot', 'collection:handbook')
      }, 180_000)
      afterAll(() => world?.[Symbol.asyncDispose]())

      async function call(
        who: { user: string } | { service: string },
        method: string,
        path: string,
        body?: object,
      ) {
        const response = await world.call(method, path, {
          token: await world.token(who),
          ...(body && { body }),
        })
        const text = await response.text()
        return { status: response.status, body: JSON.parse(text || '{}') as Record<string, unknown> }
      }

      async function plan(wanted: object): Promise<Plan> {
        const { status, body } = await call({ user: 'dan' }, 'POST', '/model/plan', wanted)
        if (status !== 200) throw new Error(JSON.stringify(body))
        return body['plan'] as Plan
      }

      async function apply({ plan_id }: Plan, reason?: string): Promise<void> {
        const said = { plan_id, ...(reason !== undefined && { reason }) }
        expect(await call({ user: 'dan' }, 'POST', '/model/apply', said)).toMatchObject({ status: 202 })
        expect(await call({ user: 'carol' }, 'POST', '/model/apply', said)).toMatchObject({ status: 200 })
      }

      const putInForce = async (wanted: object, reason?: string) => apply(await plan(wanted), reason)

      async function reads(consistency: 'fast' | 'strict' = 'strict'): Promise<Record<string, string[]>> {
        const found: Record<string, string[]> = {}
        for (const user of people) {
          for (const agent of user === 'anne' ? [undefined, 'research-bot'] : [undefined]) {
            const token = await world.token({ user, ...(agent !== undefined && { agent }) })
            const { results } = await world.retrieve(token, {
              query: 'all about',
              top_k: 100,
              consistency,
            })
            found[agent ?? user] = results.map(({ document_id }) => document_id).sort()
          }
        }
        return found
      }

      /** What they may lend of what they name, and so are told is here. */
      async function lendable(user: FgaObject): Promise<string[]> {
        const { among } = world.service.issuer.lendables
        return [...(await among(user, ['folder:top', 'collection:handbook'])).keys()].sort()
      }

      const access = (change: object) => call({ service: 'loader' }, 'POST', '/access', change)
      const blocked = { user: 'group:eng#member', relation: 'blocked', object: 'folder:top' as FgaObject }

      test('refuses a block that its model has no place for, whatever it is on, and writes nothing', async () => {
        for (const tuple of [
          blocked,
          { ...blocked, object: 'collection:handbook' },
          { user: 'user:*', relation: 'gate_1', object: 'zone:z' },
          { user: 'zone:z', relation: 'parent', object: 'folder:top' },
        ]) {
          const allowed = { user: 'user:dan', relation: 'viewer', object: 'folder:top' }
          const { status, body } = await access({ writes: [allowed, tuple] })
          expect({ status, field: body['field'] }, JSON.stringify(tuple)).toEqual({
            status: 422,
            field: expect.stringMatching(/^writes\.1\.(relation|object|user)$/),
          })
        }
        expect((await reads())['dan']).toEqual([])
      })

      test('comes to the model by a plan, with nobody gaining and nobody losing', async () => {
        const before = await reads()
        expect(before).toEqual({
          anne: ['in-folder', 'secret', 'shared'],
          'research-bot': ['in-folder', 'shared'],
          bob: ['blocked-in-folder', 'in-collection', 'in-folder', 'shared'],
          carol: ['elsewhere'],
          dan: [],
        })
        const made = await plan(current)
        expect(made).toMatchObject({
          complete: true,
          refusals: [],
          tests: { hold: true, failed: 0 },
          can_read: { gained: { count: 0 }, lost: { count: 0 } },
          can_read_delegated: { gained: { count: 0 }, lost: { count: 0 } },
        })
        const anew = made.warnings.flatMap(({ rule, relation }) =>
          rule === 'may_now_write' ? [relation] : [],
        )
        expect(new Set(anew)).toEqual(
          new Set([
            'document#parent',
            'folder#parent',
            'folder#blocked',
            'collection#blocked',
            'organization#blocked',
            ...['filed_in', 'audience', 'gate_1', 'gate_2', 'gate_3', 'blocked', 'sensitive'].map(
              (relation) => `zone#${relation}`,
            ),
          ]),
        )
        const lent = async () => [await lendable('user:anne'), await lendable('user:bob')]
        const lentBefore = await lent()
        expect(lentBefore).toEqual([
          ['collection:handbook', 'folder:top'],
          ['collection:handbook', 'folder:top'],
        ])
        await apply(made)
        expect(await lent()).toEqual(lentBefore)
        expect(await reads()).toEqual(before)
      })

      test('then takes the block, in force at once, and tells whom it would let in again to go back', async () => {
        // Now there are yeses that are held.
        expect(await reads('fast')).toEqual(await reads('fast'))
        expect(await access({ writes: [blocked] })).toMatchObject({ status: 200 })
        expect(await reads('fast')).toMatchObject({
          anne: ['secret', 'shared'],
          'research-bot': ['shared'],
          bob: ['blocked-in-folder', 'in-collection', 'in-folder', 'shared'],
        })
        expect(await lendable('user:anne')).toEqual(['collection:handbook'])
        const back = await plan(former)
        expect(back.can_read.gained.samples).toEqual([{ who: 'user:anne', document_id: 'in-folder' }])
      })

      test('does not tell whoever is blocked at a collection that it is there, though they are its viewer', async () => {
        const onCollection = { user: 'user:bob', relation: 'blocked', object: 'collection:handbook' }
        expect(await access({ writes: [onCollection] })).toMatchObject({ status: 200 })
        expect((await reads('fast'))['bob']).toEqual([])
        expect(await lendable('user:bob')).toEqual([])
        expect(await access({ deletes: [onCollection] })).toMatchObject({ status: 200 })
        expect(await lendable('user:bob')).toEqual(['collection:handbook', 'folder:top'])
      })

      test('refuses a block that a model of its own would not heed', async () => {
        const deaf = current.model.replaceAll('or blocked from parent', '')
        await putInForce({ ...current, model: deaf }, 'A test of a model of one’s own')
        const { status, body } = await access({ writes: [{ ...blocked, user: 'user:bob' }] })
        expect({ status, field: body['field'] }).toEqual({ status: 422, field: 'writes.0.relation' })
        expect(body['detail']).toMatch(/keep nobody from reading/)
        expect(await access({ deletes: [blocked] })).toMatchObject({ status: 200 })
      })
    })
  },
)
