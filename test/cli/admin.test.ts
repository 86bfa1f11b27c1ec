import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readRunningFacts } from '../../src/cli/admin-client.ts'
import type { AdminDeps } from '../../src/cli/commands/command.ts'
import { ofDatabase } from '../../src/doctor/of-database.ts'
import { lockFolder } from '../../src/store/lock.ts'
import { type Commands, openCommands, remit, serving } from './world.ts'

let world: Commands
beforeAll(async () => {
  world = await openCommands()
})
afterAll(() => world.database.close())

const recorded = () =>
  world.database.query<{ command: string; arguments: object; subject: string }>(
    `select detail->>'command' as command, detail->'arguments' as arguments, subject
     from decision_records where event = 'command' order by record_no`,
  )

describe('with a service running', () => {
  test('a service can be registered, and writes by its tuples', async () => {
    await using _server = await serving(world)
    expect(
      (await remit(['service', 'add', 'loader', '--collection', 'handbook', '--prefix', 'ho/'], world)).code,
    ).toBe(0)
    expect(await world.deps.services.get('loader')).toEqual({
      name: 'loader',
      collections: ['handbook'],
      prefixes: ['ho/'],
    })
    const answer = await world.fga.batchCheck(
      (['writer', 'tagger'] as const).map((relation) => ({
        user: 'service:loader',
        relation,
        object: 'collection:handbook',
      })),
      { now: Date.now() },
    )
    expect(answer.verdicts).toEqual(['allowed', 'allowed'])
  })

  test('a service that is saved with fewer collections loses the others', async () => {
    await world.deps.saveCollection({ id: 'board', title: 'Board', publicAllowed: false })
    await world.deps.services.save({ name: 'two', collections: ['handbook', 'board'], prefixes: [] })
    await world.deps.services.save({ name: 'two', collections: ['board'], prefixes: [] })
    const answer = await world.fga.batchCheck(
      (['collection:handbook', 'collection:board'] as const).map((object) => ({
        user: 'service:two',
        relation: 'writer',
        object,
      })),
      { now: Date.now() },
    )
    expect(answer.verdicts).toEqual(['denied', 'allowed'])
    await world.database.query(`delete from services where name = 'two'`)
  })

  test('collections and administrators can be added', async () => {
    await using _server = await serving(world)
    expect(
      (await remit(['collection', 'add', 'legal', '--title', 'Legal', '--public-allowed'], world)).code,
    ).toBe(0)
    expect(
      (await remit(['admin', 'add', 'user:anne', '--role', 'security.read', '--role', 'agents.write'], world))
        .code,
    ).toBe(0)
    expect(await world.deps.administrators.rolesOf('user:anne')).toEqual(['agents.write', 'security.read'])
    expect(await world.database.query(`select public_allowed from collections where id = 'legal'`)).toEqual([
      { public_allowed: true },
    ])
  })

  test('the doctor is told what the embedded database holds, without a record, and nothing where none runs', async () => {
    expect(await readRunningFacts(world.home)).toBeUndefined()
    await using _server = await serving(world)
    const before = await recorded()
    const facts = await readRunningFacts(world.home)
    expect(facts).toMatchObject({
      kind: 'pglite',
      restored: false,
      stock: { failed: 0 },
      backup: { takenAt: null },
      insertOnly: false,
    })
    // `remit backup` refuses it: nobody could mend that.
    expect(facts && ofDatabase(facts, Date.now()).map(({ part }) => part)).not.toContain('backup')
    expect(await recorded()).toEqual(before)
  })

  test('each command is on record', async () => {
    await using _server = await serving(world)
    const before = (await recorded()).length
    await remit(['delegation', 'list', 'user:bob'], world)
    await remit(['drift'], world)
    expect((await recorded()).slice(before)).toEqual([
      { command: 'delegation_list', arguments: { user: 'user:bob' }, subject: 'service:remit' },
      { command: 'drift', arguments: {}, subject: 'service:remit' },
    ])
  })

  const changes = (since: number) =>
    world.database.query<{ event: string; detail: object; objects: readonly string[]; txn: string }>(
      `select event, detail, objects, txn from decision_records
       where record_no > $1 and event <> 'command' order by record_no`,
      [since],
    )
  const newest = async () => {
    const [row] = await world.database.query<{ no: number }>(
      'select max(record_no) as no from decision_records',
    )
    return row?.no ?? 0
  }

  test('what a command changed is on record as it is by HTTP, with its object, under the txn of the command', async () => {
    await using _server = await serving(world)
    const agent = {
      id: 'off-bot',
      owner: 'user:anne',
      purpose: 'tests',
      issuer: 'https://x.test',
      sub: 'off',
    }
    await world.deps.agents.save(agent)
    const before = await newest()
    for (const argv of [
      ['agent', 'disable', 'off-bot'],
      ['agent', 'enable', 'off-bot'],
      // Again: nothing changes.
      ['agent', 'enable', 'off-bot'],
      ['client', 'add', 'off-app', '--kind', 'agent', '--of', 'off-bot', '--title', 'Off'],
      ['client', 'remove', 'off-app'],
      ['host', 'disable', 'off.example'],
      ['host', 'enable', 'off.example'],
      ['person', 'disable', 'anne'],
      ['person', 'enable', 'anne'],
    ])
      expect((await remit(argv, world)).code, argv.join(' ')).toBe(0)
    const found = await changes(before)
    const client = { client: 'off-app', agent: 'off-bot' }
    const objects = ['agent:off-bot', 'client:off-app']
    expect(found.map(({ txn: _, ...row }) => row)).toEqual([
      { event: 'agent_disabled', detail: { agent: 'off-bot' }, objects: ['agent:off-bot'] },
      { event: 'agent_enabled', detail: { agent: 'off-bot' }, objects: ['agent:off-bot'] },
      { event: 'client_saved', detail: client, objects },
      { event: 'client_removed', detail: client, objects },
      { event: 'host_disabled', detail: { host: 'off.example', agents: [] }, objects: [] },
      { event: 'host_enabled', detail: { host: 'off.example' }, objects: [] },
      { event: 'person_disabled', detail: { user: 'user:anne' }, objects: [] },
      { event: 'person_enabled', detail: { user: 'user:anne' }, objects: [] },
    ])
    const txns = await world.database.query<{ txn: string }>(
      `select txn from decision_records where record_no > $1 and event = 'command' order by record_no`,
      [before],
    )
    expect(txns.map(({ txn }) => txn)).toEqual(expect.arrayContaining(found.map(({ txn }) => txn)))
  })

  test('a command that failed is on record as one that failed, and what it was to change is not', async () => {
    await using _server = await serving(world)
    const before = await newest()
    expect((await remit(['agent', 'disable', 'nobot'], world)).code).toBe(1)
    expect((await remit(['client', 'remove', 'noapp'], world)).code).toBe(1)
    expect((await remit(['person', 'enable', 'bob'], world)).code).toBe(1)
    const failed = (command: string) => ({
      event: 'command_failed',
      detail: { command, code: 'invalid_request' },
    })
    expect(await changes(before)).toMatchObject([
      failed('agent_disable'),
      failed('client_remove'),
      failed('person_enable'),
    ])
    expect(
      await world.database.query(
        `select from decision_records one join decision_records other using (txn)
         where one.event = 'command' and other.event = 'command_failed' and one.record_no > $1`,
        [before],
      ),
    ).toHaveLength(3)
  })

  test.each<[readonly string[], string]>([
    [['agent', 'disable', 'stranger'], 'no agent stranger'],
    [['token', '--agent', 'research-bot', '--service', 'loader'], 'A service has no agent'],
    [['token'], 'either --user or --service'],
    [['token', '--user', 'anne', '--service', 'loader'], 'either --user or --service'],
    [['admin', 'add', 'group:eng', '--role', 'security.read'], 'must be user:SUBJECT'],
    [['admin', 'add', 'user:anne', '--role', 'root'], 'roles.0: must be one of security.read, '],
    [['admin', 'add', 'user:anne'], '--role'],
    [['service', 'add', 'x', '--collection', 'nowhere'], 'no collection nowhere'],
    [['service', 'add', '../x', '--collection', 'handbook'], 'is not an id'],
    [['frobnicate'], 'unknown command'],
  ])('%j fails with a reason on stderr and nothing on stdout', async (argv, says) => {
    await using _server = await serving(world)
    const ran = await remit(argv, world)
    expect(ran.code).toBe(1)
    expect(ran.stdout).toBe('')
    expect(ran.stderr).toContain(says)
  })

  test('outside the demo nobody is spoken for', async () => {
    await using _server = await serving({ home: world.home, deps: world.withoutDemo })
    for (const argv of [
      ['token', '--user', 'anne'],
      ['token', '--user', 'anne', '--agent', 'research-bot'],
      ['token', '--service', 'loader'],
    ]) {
      expect(await remit(argv, world)).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining('in the demo only'),
      })
    }
  })

  test('a database that nothing shows to be an older copy is recovered only if one insists', async () => {
    let recovered = 0
    const accesses: unknown[] = []
    const recover: AdminDeps['recover'] = async (_, kept) => {
      recovered += 1
      accesses.push(kept?.access)
      return {
        older: 'not_known' as const,
        access_mended: 0,
        whole_at: '',
        delegations_ended: 0,
        grants_ended: 0,
        accounts_to_reconnect: 0,
        tuples_removed: 0,
        sessions_ended: 0,
        artifacts_ended: 0,
        send_again: ['agents, hosts and persons that were disabled', 'rotated keys'],
      }
    }
    const run = async (isOlder: boolean, ...argv: readonly string[]) => {
      const deps = { ...world.deps, recover, mayHaveForgotten: async () => isOlder }
      await using _server = await serving({ home: world.home, deps })
      return await remit(['recover', ...argv], world)
    }
    expect(await run(false)).toMatchObject({ code: 1, stderr: expect.stringContaining('say --anyway') })
    expect(recovered).toBe(0)
    const insisted = await run(false, '--anyway')
    expect(insisted.code).toBe(0)
    expect(insisted.stdout).toContain(
      'send again:\n  agents, hosts and persons that were disabled\n  rotated keys\n',
    )
    expect((await run(true)).code).toBe(0)
    expect((await run(true, '--access', 'end')).code).toBe(0)
    expect((await run(true, '--access', 'keep')).code).toBe(0)
    expect(accesses).toEqual([undefined, undefined, 'end', 'keep'])
    for (const [says, ...argv] of [
      ['Allowed choices are end, keep', '--access', 'lend'],
      ['argument missing', '--access'],
      ['There is no file /nowhere', '--against', '/nowhere'],
    ])
      expect(await run(true, ...argv)).toMatchObject({ code: 1, stderr: expect.stringContaining(says ?? '') })
    expect(recovered).toBe(4)
  })

  test('whoever recovers older copies of both is told which agents to enable, and where people lend again', async () => {
    const recover = (agents: readonly string[]) => ({
      ...{
        older: 'not_known' as const,
        access_mended: 0,
        whole_at: '',
        delegations_ended: 2,
        grants_ended: 0,
      },
      ...{ accounts_to_reconnect: 0, tuples_removed: 0, sessions_ended: 0, artifacts_ended: 0 },
      ...{ agents_disabled: agents.length, agents, send_again: [] },
    })
    const run = async (agents: readonly string[], ...argv: readonly string[]) => {
      const deps = { ...world.deps, recover: async () => recover(agents) }
      await using _server = await serving({ home: world.home, deps })
      return await remit(['recover', '--anyway', ...argv], world)
    }
    const few = await run(['ask-bot', 'research-bot'])
    expect(few.stdout).toContain('agents disabled: 2\n')
    expect(few.stderr).toContain(':\n  remit agent enable ask-bot\n  remit agent enable research-bot\nWhat')
    expect(few.stderr).toContain('They lend again at /delegations.\n')
    const many = await run(['a', 'b', 'c', 'd', 'e', 'f', 'g'])
    expect(many.stderr).toContain('enable e\n  and 2 more (remit agent list)\n')
    expect(JSON.parse((await run(['ask-bot'], '--json')).stdout)).toMatchObject({ agents: ['ask-bot'] })
  })

  test('a database that may be an older copy is compared with OpenFGA by nobody', async () => {
    let compared = 0
    const drift = async () => {
      compared += 1
      return {}
    }
    const deps = { ...world.deps, drift, mayHaveForgotten: async () => true }
    await using _server = await serving({ home: world.home, deps })
    expect(await remit(['drift'], world)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('remit recover'),
    })
    expect(compared).toBe(0)
  })

  test('only the folder’s owner can open the socket', async () => {
    await using _server = await serving(world)
    expect((await stat(world.home)).mode & 0o777).toBe(0o700)
    expect((await stat(join(world.home, 'admin.sock'))).mode & 0o777).toBe(0o600)
  })

  test('a path that is too long for a socket is found all the same', async () => {
    const home = join(world.home, 'long'.repeat(30))
    await using _server = await serving({ ...world, home })
    expect((await remit(['drift'], { home })).code).toBe(0)
  })

  test('what breaks inside is told to the log and not to the caller', async () => {
    const errors: unknown[] = []
    const deps = { ...world.deps, drift: () => Promise.reject(new Error('secret path /x')) }
    await using _server = await serving({ home: world.home, deps }, errors)
    const ran = await remit(['drift'], world)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).not.toContain('secret')
    expect(errors).toHaveLength(1)
  })

  test.each<[string, string, string, number]>([
    ['no such command', '/commands/constructor', '{}', 404],
    ['no JSON', '/commands/drift', '{', 400],
    ['arguments that do not belong', '/commands/drift', '{"x":1}', 422],
    ['arguments that are no object', '/commands/drift', 'null', 422],
    ['a body that is too large', '/commands/drift', `"${'x'.repeat(70_000)}"`, 413],
    ['another path', '/', '{}', 404],
  ])('%s is refused', async (_, path, body, status) => {
    await using _server = await serving(world)
    expect(await post(join(world.home, 'admin.sock'), path, body)).toBe(status)
  })
})

describe('with no service running', () => {
  test('a command says so, with the folder', async () => {
    const ran = await remit(['drift'], { home: world.home })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain(`No service is running with REMIT_HOME=${world.home}`)
  })

  test('it works in this process under the folder’s lock', async () => {
    const ran = await remit(['drift'], {
      home: world.home,
      withService: async (work) => {
        await expect(lockFolder(world.home)).rejects.toThrow('Another process')
        return work(world.deps)
      },
    })
    expect(ran.code).toBe(0)
    await using _free = await lockFolder(world.home)
  })

  test('it does not work beside a process that holds the folder', async () => {
    await using _held = await lockFolder(world.home)
    const ran = await remit(['drift'], {
      home: world.home,
      withService: (work) => work(world.deps),
    })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('starting, stopping or busy')
  })

  test('a socket left by a crash does not stand in the way', async () => {
    const path = join(world.home, 'admin.sock')
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.stdout.write('up'))`,
    ])
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect((await stat(path)).isSocket()).toBe(true)
    expect((await remit(['drift'], { home: world.home })).stderr).toContain('No service is running')
    await using _server = await serving(world)
    expect((await remit(['drift'], world)).stdout).toBe('mended: 0\nrequestOnly: 0\nadopted: true\n')
    expect((await remit(['drift', '--json'], world)).stdout).toBe(
      '{"mended":0,"requestOnly":0,"adopted":true}\n',
    )
  })
})

function post(socketPath: string, path: string, body: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method: 'POST' }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
