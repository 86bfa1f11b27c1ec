import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Tuple } from '../../src/authz/fga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { needsPostgres } from '../support/native.ts'
import { openWorld, type World } from '../support/world.ts'

const tuple = (words: string): Tuple => {
  const [user = '', relation = '', object = ''] = words.split(' ')
  return { user, relation, object: object as FgaObject }
}
const viewers = { viewers: ['user:anne'] }
const body = { collection: 'handbook', title: 'T', text: 'Travel.', mime_type: 'text/plain', access: viewers }
const path = (id: string) => `/documents/${encodeURIComponent(id)}`

describe('a change that still waits for its turn', needsPostgres, () => {
  let world: World
  let loader: string
  let carol: string
  let dan: string
  let last: number
  beforeAll(async () => {
    world = await openWorld({
      backend: { database: 'postgres', openfga: 'engine' },
      env: { REQUEST_DEADLINE_MS: '400', WRITE_DEADLINE_MS: '1000' },
    })
    await world.service.administrators.add('user:carol', ['security.write'])
    await world.service.administrators.add('user:dan', ['agents.write'])
    await world.put({ whole: {}, withdrawn: {}, retagged: {}, shared: {}, imported: {} })
    loader = await world.token({ service: 'loader' })
    carol = await world.token({ user: 'carol' })
    dan = await world.token({ user: 'dan' })
    const [row] = await world.database.query<{ last: number }>(
      'select max(record_no) as last from decision_records',
    )
    last = row?.last ?? 0
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const changes: readonly [string, string, () => Promise<Response>][] = [
    ['PUT /documents', 'document:whole', () => world.call('PUT', path('whole'), { token: loader, body })],
    [
      'DELETE /documents',
      'document:withdrawn',
      () => world.call('DELETE', path('withdrawn'), { token: loader }),
    ],
    [
      'PUT /documents/…/access',
      'document:retagged',
      () => world.call('PUT', `${path('retagged')}/access`, { token: loader, body: viewers }),
    ],
    [
      'POST /access',
      'document:shared',
      () =>
        world.call('POST', '/access', {
          token: loader,
          body: { writes: [tuple('user:anne viewer document:shared')] },
        }),
    ],
    [
      'PUT /collections',
      'collection:handbook',
      () =>
        world.call('PUT', '/collections/handbook', {
          token: carol,
          body: { title: 'Late', taggers: ['service:late'] },
        }),
    ],
  ]

  test('when it is answered with a 503 never takes effect, so that it undoes nothing of what others were told since', async () => {
    const objects = changes.map(([, object]) => object)
    await hold(objects)
    const answers = await Promise.all(changes.map(([, , send]) => send()))
    expect(answers.map(({ status }) => status)).toEqual(changes.map(() => 503))
    await release()
    expect(await effects(objects)).toEqual([])
  })

  test('when its client leaves does not take effect either, nor does an import', async () => {
    const leaving = new AbortController()
    await hold(['document:imported'])
    const headers = { authorization: `Bearer ${loader}`, 'content-type': 'application/x-ndjson' }
    const line = JSON.stringify({ ...body, id: 'imported' })
    const sent = world.service.app.request(`${world.config.publicUrl}/imports`, {
      method: 'POST',
      headers,
      body: line,
      signal: leaving.signal,
    })
    await expect
      .poll(() => world.database.query(`select id from jobs where kind = 'import' and state = 'receiving'`))
      .toHaveLength(1)
    leaving.abort()
    await release()
    await sent
    expect(await effects(['document:imported'])).toEqual([])
    expect(
      await world.database.query(
        `select state from jobs where kind = 'import' order by created_at desc limit 1`,
      ),
    ).toEqual([{ state: 'broken' }])
  })

  /** What was done to them, by whoever came before this. */
  async function effects(objects: readonly string[]): Promise<object[]> {
    // Comes after all of them: one process takes turns in order.
    await world.service.ingest.applyTuples(operator('after'), {
      writes: objects.map((object) =>
        tuple(
          object.startsWith('document:') ? `user:bob viewer ${object}` : `service:after tagger ${object}`,
        ),
      ),
      deletes: [],
    })
    expect(await world.database.query('select object from leases')).toEqual([])
    return world.database.query(
      `select event, objects from decision_records where txn <> 'after' and record_no > $1
       and event in ('document_accepted', 'document_withdrawn', 'access_changed', 'collection_saved')`,
      [last],
    )
  }

  test('for a row that others hold does not come into force after its 503 either', async () => {
    const agent = {
      owner: 'user:dan',
      title: 'Bot',
      purpose: 'tests',
      scopes: ['docs.search'],
      collections: [],
    }
    const over = new AbortController()
    const late = { ...operator('late'), over: over.signal }
    const { agents, approvals, delegations, ingest } = world.service
    await world.database.query(
      `insert into approval_askers (subject, agent, blocked_at) values ('user:anne', 'other-bot', now())`,
    )
    const answers = await holding(
      [
        `select from agents where id = 'research-bot' for update`,
        'lock table fields in exclusive mode',
        'select from approval_askers for update',
      ],
      async () => {
        const sent = [
          world.call('POST', '/agents', { token: dan, body: { ...agent, id: 'research-bot' } }),
          world.call('PUT', '/fields', { token: carol, body: { late: 'string' } }),
        ]
        const given = [
          approvals.blocks.lift('user:anne', 'other-bot', late),
          delegations.lend(
            {
              subject: 'user:anne',
              agent: 'research-bot',
              scope: ['collection:handbook'],
              purpose: 'tests',
              standing: true,
              expiresAt: new Date(Date.now() + 3_600_000),
            },
            late,
          ),
        ].map((work) =>
          work.then(
            () => 'given',
            () => 'refused',
          ),
        )
        const statuses = (await Promise.all(sent)).map(({ status }) => status)
        over.abort()
        return { statuses, given }
      },
    )
    expect(answers.statuses).toEqual([503, 503])
    expect(await Promise.all(answers.given)).toEqual(['refused', 'refused'])
    await expect
      .poll(() =>
        world.database.query(
          `select query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
           and (state like '%transaction%' or wait_event_type = 'Lock')`,
        ),
      )
      .toEqual([])
    expect((await agents.get('research-bot'))?.limits.scopes).toBeUndefined()
    expect([...(await ingest.fields()).keys()]).not.toContain('late')
    expect(await approvals.blocks.of('user:anne')).toMatchObject([{ agent: 'other-bot' }])
    expect((await delegations.listOf('user:anne')).filter(({ state }) => state === 'live')).toEqual([])
  })

  /** The result of `work`, during which these locks are held. */
  async function holding<T>(locks: readonly string[], work: () => Promise<T>): Promise<T> {
    const [locked, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const held = world.database.transaction(async (sql) => {
      for (const lock of locks) await sql.query(lock)
      locked.resolve()
      await done.promise
    })
    await Promise.race([locked.promise, held])
    try {
      return await work()
    } finally {
      done.resolve()
      await held
    }
  }

  async function hold(objects: readonly string[]): Promise<void> {
    await world.database.query(
      `insert into leases (object, holder, until, tuples_first)
       select unnest($1::text[]), 'other', now() + interval '1 hour', true`,
      [objects],
    )
  }
  const release = () => world.database.query(`delete from leases where holder = 'other'`)
})
