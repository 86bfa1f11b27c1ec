import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

describe('POST /model/check and /model/test', () => {
  let world: World
  let writer = ''
  let model = ''
  beforeAll(async () => {
    world = await openWorld()
    model = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
    await world.service.administrators.add('user:dan', ['security.write'])
    await world.service.administrators.add('user:bob', ['security.read'])
    writer = await world.token({ user: 'dan' })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const ask = async (path: string, body: object, token = writer) => {
    const response = await world.call('POST', path, { token, body })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  test('say of the model in force that nothing is wrong with it, and that its truth table holds', async () => {
    expect(await ask('/model/check', { model })).toMatchObject({
      status: 200,
      body: { problems: [], refusals: [] },
    })
    const { status, body } = await ask('/model/test', { model })
    expect([status, body['failed']]).toEqual([200, 0])
    expect(body['passed']).toBeGreaterThan(200)
  })

  test('say where a text is wrong: of its grammar, of its names, and of what the service needs', async () => {
    const wrong = `model\n  schema 1.1\n\ntype user\n\ntype document\n  relations\n    define viewer: [user, grup]\n`
    expect(await ask('/model/check', { model: wrong })).toMatchObject({
      body: {
        problems: [
          { line: 8, column: 27, end_line: 8, end_column: 31, message: '`grup` is not a valid type.' },
        ],
      },
    })
    const grammar = { model: wrong.replace('[user, grup]', '[user] or') }
    expect(await ask('/model/check', grammar)).toMatchObject({ body: { problems: [{ line: 8 }] } })
    const poor = { model: wrong.replace(', grup', '') }
    const { body } = await ask('/model/check', poor)
    expect(body['problems']).toEqual([])
    expect(body['refusals']).toContainEqual(
      expect.objectContaining({ rule: 'relation_missing', relation: 'document#can_read' }),
    )
  })

  test('show each answer of a table of one’s own beside what was expected', async () => {
    const tests = `tuples: [{ user: user:anne, relation: viewer, object: document:plan }]
tests:
  - name: anne reads, bob does not
    check:
      - { users: [user:anne, user:bob], object: document:plan, assertions: { viewer: true } }
model_file: ./model.fga
`
    expect(await ask('/model/test', { model, tests })).toMatchObject({
      body: {
        passed: 1,
        failed: 1,
        tests: [
          {
            name: 'anne reads, bob does not',
            questions: [
              { question: 'user:anne viewer document:plan', expected: true, got: true, passed: true },
              { question: 'user:bob viewer document:plan', expected: true, got: false, passed: false },
            ],
          },
        ],
      },
    })
  })

  test('read no file that a table names, and take none that is too long or no table', async () => {
    const named = `model_file: ./model.fga\ntests: [{ name: x, tuple_file: ../../etc/passwd }]`
    for (const tests of [
      named,
      'tests: []',
      '{',
      `model_file: x\ntests:\n${'  - { name: x }\n'.repeat(201)}`,
    ])
      expect(await ask('/model/test', { model, tests })).toMatchObject({
        status: 422,
        body: { field: 'tests' },
      })
    expect(await ask('/model/test', { model: 'model' })).toMatchObject({
      status: 422,
      body: { field: 'model' },
    })
  })

  test('let four wait and tell who comes later to come again', async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask('/model/test', { model })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 503, 503])
    expect(answers.find(({ status }) => status === 503)?.body).toMatchObject({ code: 'overloaded' })
  })

  test('are for people with the role alone, and leave the model as it is', async () => {
    await world.lend('anne', 'research-bot', 'collection:handbook')
    for (const who of [{ user: 'bob' }, { user: 'anne' }, { user: 'anne', agent: 'research-bot' }])
      for (const path of ['/model/check', '/model/test'])
        expect((await ask(path, { model }, await world.token(who))).status).toBe(403)
    // With a token from when they had it.
    await world.service.administrators.add('user:carol', ['security.write'])
    const before = await world.token({ user: 'carol' })
    await world.service.administrators.remove('user:carol', ['security.write'])
    for (const path of ['/model/check', '/model/test'])
      expect((await ask(path, { model }, before)).status).toBe(403)
    const shown = await world.call('GET', '/model', { token: writer })
    expect(await shown.json()).toMatchObject({ matches_file: true, awaiting: [] })
  })
})
