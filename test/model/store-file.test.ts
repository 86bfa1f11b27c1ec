import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readStoreFile, readStoreText } from '../../src/authz/model/store-file.ts'
import { testStoreFile } from '../../src/authz/model/store-test.ts'
import { runCli } from '../../src/cli/program.ts'
import { createTerminal } from '../../src/cli/terminal.ts'
import { nobody, noDemo, noStdio } from '../cli/world.ts'
import { engineApi } from './store.ts'

const source = await readFile(new URL('../../model.fga.yaml', import.meta.url), 'utf8')
const dsl = await readFile(new URL('../../model.fga', import.meta.url), 'utf8')
const small = `model: |
  model
    schema 1.1
  type user
  type document
    relations
      define viewer: [user, user with until]
  condition until(current_time: timestamp, expires_at: timestamp) {
    current_time < expires_at
  }
`

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-store-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function put(files: Readonly<Record<string, string>>): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  return join(folder, 'store.fga.yaml')
}

const check = '    check:\n      - { user: user:anne, object: document:a, assertions: { viewer: true } }\n'
const tests = `tests:\n  - name: one\n${check}`

describe('a store file', () => {
  test('in whose place a model is named says what it takes', async () => {
    await put({ 'model.fga': dsl })
    await expect(readStoreFile(join(folder, 'model.fga'))).rejects.toThrow(
      'model.fga is a model: name a store file (.fga.yaml), which says what the model must answer',
    )
  })

  test.each([
    ['at the top', 'name: Remit\n', 'name: Remit\nfixed_clock: now\n', 'fixed_clock'],
    [
      'in a check',
      'object: document:other, assertions',
      'object: document:other, contextual: [], assertions',
      'contextual',
    ],
    ['in a tuple', 'object: group:eng }', 'object: group:eng, note: hers }', 'note'],
  ])(
    'with a key that the tool does not know is refused %s, by name and line',
    async (_, before, after, key) => {
      expect(source).toContain(before)
      const changed = source.replace(before, after)
      const line = changed.slice(0, changed.indexOf(key)).split('\n').length
      const path = await put({ 'store.fga.yaml': changed, 'model.fga': dsl })
      await expect(readStoreFile(path)).rejects.toThrow(
        new RegExp(`^store\\.fga\\.yaml:${line}: .*${key}: this member is not known`),
      )
    },
  )

  test.each([
    ['no model at all', tests, 'name either model or model_file'],
    [
      'both user and users',
      `${small}tests:\n  - name: one\n    check:\n      - { user: user:a, users: [user:b], object: document:a, assertions: {} }\n`,
      'store.fga.yaml:14: tests.0.check.0: name either user or users',
    ],
    ['nothing to test', `${small}tests: []\n`, 'tests'],
    ['text that is no YAML', 'a: [', 'store.fga.yaml'],
  ])('with %s is refused', async (_, content, reason) => {
    await expect(readStoreFile(await put({ 'store.fga.yaml': content }))).rejects.toThrow(reason)
  })

  test.each([
    ['yaml', '- { user: user:anne, relation: viewer, object: document:a }\n'],
    ['json', '[{"user":"user:anne","relation":"viewer","object":"document:a"}]'],
    ['jsonl', '{"user":"user:anne","relation":"viewer","object":"document:a"}\n\n'],
    ['csv', 'user_type,user_id,user_relation,relation,object_type,object_id\nuser,anne,,viewer,document,a\n'],
  ])('takes its tuples from a file of %s too', async (kind, content) => {
    const path = await put({
      'store.fga.yaml': `${small}tuple_files: [./t/tuples.${kind}]\n${tests}`,
      [`t/tuples.${kind}`]: content,
    })
    expect((await readStoreFile(path)).tests[0]?.tuples).toEqual([
      { user: 'user:anne', relation: 'viewer', object: 'document:a' },
    ])
  })

  test('takes a condition with its context from a csv file', async () => {
    const path = await put({
      'store.fga.yaml': `${small}tuple_file: t.csv\n${tests}`,
      't.csv':
        'user_type,user_id,relation,object_type,object_id,condition_name,condition_context\nuser,anne,viewer,document,a,until,"{""expires_at"":""2026-01-01T00:00:00Z""}"\n',
    })
    expect((await readStoreFile(path)).tests[0]?.tuples[0]?.condition).toEqual({
      name: 'until',
      context: { expires_at: '2026-01-01T00:00:00Z' },
    })
  })

  test('takes a model in modules', async () => {
    const path = await put({
      'store.fga.yaml': `model_file: fga.mod\n${tests}`,
      'fga.mod': "schema: '1.2'\ncontents: [core.fga]\n",
      'core.fga': 'module core\ntype user\ntype document\n  relations\n    define viewer: [user]\n',
    })
    expect((await readStoreFile(path)).model.type_definitions.map(({ type }) => type)).toEqual([
      'user',
      'document',
    ])
  })

  test('reads nothing outside its folder, by name or by link', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'remit-outside-'))
    await writeFile(join(outside, 'model.fga'), dsl)
    await symlink(join(outside, 'model.fga'), join(folder, 'linked.fga'))
    for (const name of [`${outside}/model.fga`, '../model.fga', 'linked.fga']) {
      const path = await put({ 'store.fga.yaml': `model_file: ${name}\n${tests}` })
      await expect(readStoreFile(path), name).rejects.toThrow('outside the folder')
    }
    await rm(outside, { recursive: true })
  })

  test.each([
    ['left out', ''],
    ['empty', '    name: ""\n    description: ""\n'],
    ['nothing', '    name:\n    description:\n'],
  ])(
    'whose tests have no name (%s) is taken, as by the tool, and they are known by their place',
    async (_, head) => {
      const content = `${small}tests:\n  - name: first\n${check}  -\n${head}${check}`
      const named = ['first', 'test 2']
      const read = await readStoreFile(await put({ 'store.fga.yaml': content }))
      expect(read.tests.map(({ name }) => name)).toEqual(named)
      expect(readStoreText(content, read.model, 'x').tests.map(({ name }) => name)).toEqual(named)
      for (const { questions } of read.tests) expect(questions).toHaveLength(1)
    },
  )

  test('names the line of a model that cannot be read', async () => {
    const path = await put({
      'store.fga.yaml': `model_file: model.fga\n${tests}`,
      'model.fga': 'model\n  schema 1.1\ntype user\n  nonsense\n',
    })
    await expect(readStoreFile(path)).rejects.toThrow(/line 4: /)
  })

  test('whose tuples do not fit the model fails by that, and asks nothing', async () => {
    const path = await put({
      'store.fga.yaml': `${small}tuples: [{ user: group:a, relation: viewer, object: document:a }]\n${tests}`,
    })
    const [result] = await testStoreFile(engineApi(), await readStoreFile(path))
    expect(result).toMatchObject({ refused: expect.stringContaining("type 'group' not found"), results: [] })
  })
})

describe('`remit model test`', () => {
  const notAsked = () => Promise.reject(new Error('not asked'))
  async function run(content: string, ...flags: readonly string[]) {
    const written = { out: '', err: '' }
    const code = await runCli(['model', 'test', await put({ 'store.fga.yaml': content }), ...flags], {
      admin: { run: () => Promise.reject(new Error('no service is needed')) },
      terminal: createTerminal({
        stdout: { write: (text) => (written.out += text) },
        stderr: { write: (text) => (written.err += text) },
      }),
      serve: () => Promise.reject(new Error('not asked')),
      examine: async () => [],
      reembed: () => Promise.reject(new Error('not asked')),
      backups: { backup: notAsked, restore: notAsked, check: notAsked, makeKey: notAsked },
      fetch: () => Promise.reject(new Error('not asked')),
      publicUrl: 'http://localhost',
      signIns: nobody,
      demoTokens: noDemo,
      envToken: undefined,
      stdio: noStdio,
      newKey: () => 'key',
      now: Date.now,
    })
    return { code, ...written }
  }
  const tuple = 'tuples: [{ user: user:anne, relation: viewer, object: document:a }]\n'

  test('exits with 0 and counts what passes, without a running service', async () => {
    expect(await run(`${small}${tuple}${tests}`)).toEqual({
      code: 0,
      out: 'On the embedded engine:\n# Test Summary #\nTests 1/1 passing\nChecks 1/1 passing\n\n',
      err: '',
    })
  })

  test('sends the server its key by --server-token, and refuses --token, which may be a token of Remit', async () => {
    const keys: unknown[] = []
    const server = createServer((request, response) => {
      keys.push(request.headers.authorization)
      response.writeHead(401).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    await using _closing = { [Symbol.asyncDispose]: async () => void server.close() }
    const at = ['--server', `http://127.0.0.1:${(server.address() as AddressInfo).port}`]
    for (const flags of [['--token', 'secret'], ['--token=secret']]) {
      const refused = await run(`${small}${tuple}${tests}`, ...at, ...flags)
      expect(refused).toMatchObject({ code: 2, out: '', err: expect.stringContaining('--server-token') })
      expect(refused.err).not.toContain('secret')
    }
    expect(keys).toEqual([])
    await run(`${small}${tuple}${tests}`, ...at, '--server-token', 'key')
    expect(new Set(keys)).toEqual(new Set(['Bearer key']))
  })

  test('exits with 1 and shows what was expected and what came', async () => {
    const lists =
      '    list_objects:\n      - { user: user:anne, type: document, assertions: { viewer: [document:b] } }\n' +
      '    list_users:\n      - { object: document:a, user_filter: [{ type: user }], assertions: { viewer: { users: [] } } }\n'
    const { code, out } = await run(`${small}${tuple}${tests.replace('true', 'false')}${lists}`)
    expect(code).toBe(1)
    expect(out).toBe(
      `On the embedded engine:
(FAILING) one: Checks (0/1 passing) | ListObjects (0/1 passing) | ListUsers (0/1 passing)
ⅹ Check(user=user:anne,relation=viewer,object=document:a): expected=false, got=true
ⅹ ListObjects(user=user:anne,relation=viewer,type=document): expected=[document:b], got=[document:a]
    missing:    document:b
    unexpected: document:a
ⅹ ListUsers(object=document:a,relation=viewer,user_filter=user): expected=[], got=[user:anne]
    unexpected: user:anne
---
# Test Summary #
Tests 0/1 passing
Checks 0/1 passing
ListObjects 0/1 passing
ListUsers 0/1 passing

`,
    )
  })

  test('shows a test without a name by its place', async () => {
    const { code, out } = await run(`${small}tests:\n  -\n${check}`)
    expect(code).toBe(1)
    expect(out).toContain('(FAILING) test 1: Checks (0/1 passing)')
  })

  test('says why an answer is missing, and counts it as failed', async () => {
    const expiring =
      'tuples: [{ user: user:anne, relation: viewer, object: document:a, condition: { name: until, context: { expires_at: "2030-01-01T00:00:00Z" } } }]\n'
    const { code, out } = await run(`${small}${expiring}${tests}`)
    expect(code).toBe(1)
    expect(out).toMatch(/got=N\/A, error=.*current_time/)
  })
})
