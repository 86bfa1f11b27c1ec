import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createAsking } from '../delegation/issuer/asking.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { programEnv } from '../support/program-env.ts'

// The example as somebody would run it, a process of its own; the person answers meanwhile.
const example = fileURLToPath(new URL('../../examples/ciba.ts', import.meta.url))
const clientId = 'demo-agent-research-bot'
let world: IssuerWorld
let asking: Awaited<ReturnType<typeof createAsking>>
let home: string

beforeAll(async () => {
  world = await openIssuerWorld()
  asking = await createAsking(world)
  const secret = { viewers: ['user:anne'], sensitive: true }
  await world.put({
    'handbook/travel': { title: 'Travel', text: 'Travel costs.', access: { viewers: ['user:anne'] } },
    'board/1': { title: 'Minutes 1', text: 'Travel costs of the board.', access: secret },
    'board/2': { title: 'Minutes 2', text: 'Travel costs of the board.', access: secret },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), alg: 'ES256' } as JWK & { kty: 'EC' }
  await world.service.clients.register(
    { clientId, kind: 'agent', agent: 'research-bot' },
    { title: 'Nightly', redirectUris: [], jwks: { keys: [jwk] } },
  )
  home = await mkdtemp(join(tmpdir(), 'remit-test-'))
  await mkdir(join(home, 'demo-clients'))
  await writeFile(join(home, 'demo-clients', `${clientId}.json`), JSON.stringify(await exportJWK(privateKey)))
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  if (home !== undefined) await rm(home, { recursive: true })
})
afterEach(async () => {
  for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
    await world.database.query(`delete from ${table}`)
})

function run(person = 'anne') {
  const env = { ...programEnv, PUBLIC_URL: world.url, REMIT_HOME: home, PERSON: person }
  const child = spawn(process.execPath, [example, 'travel costs'], { env })
  const said = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text
  })
  return { said, ended: once(child, 'close').then(([code]) => code as number) }
}

/** As soon as they are asked, and no sooner. */
async function decide(...decision: Parameters<typeof asking.decide>) {
  await expect.poll(() => asking.open('anne'), { timeout: 20_000 }).toBeDefined()
  await asking.decide(...decision)
}

test('asks, is asked back, reads what was lent, and then what its person agreed to', {
  timeout: 60_000,
}, async () => {
  const { said, ended } = run()
  await decide('anne', { answer: 'ask', question: 'At this hour?' })
  await expect.poll(() => said.err, { timeout: 20_000 }).toContain('anne asks: At this hour?')
  const open = await asking.open('anne')
  const { delegation = '', id = '' } = open ?? {}
  const asker = {
    subject: 'user:anne',
    agent: 'research-bot',
    client: clientId,
    delegation,
    txn: 't',
  } as const
  await world.service.approvals.answer(asker, id, 'It is a nightly report.')
  await asking.decide('anne', { answer: 'approve' })
  await expect.poll(() => said.out, { timeout: 20_000 }).toContain('with your yes')
  // Of two documents one.
  await decide('anne', { answer: 'approve', documentIds: ['board/2'] })
  expect(await ended).toBe(0)
  expect(said.out.split('\n')).toEqual([
    'handbook/travel  Travel',
    '— and with your yes:',
    expect.stringMatching(/^(handbook\/travel|board\/2) {2}/),
    expect.stringMatching(/^(handbook\/travel|board\/2) {2}/),
    '',
  ])
  expect(said.out).not.toContain('board/1')
})

test('says in one line that its person refused, and why, or that nobody can be asked', {
  timeout: 60_000,
}, async () => {
  const refused = run()
  await decide('anne', { answer: 'deny', reason: 'Not tonight' })
  expect([await refused.ended, refused.said.out]).toEqual([1, ''])
  expect(refused.said.err).toMatch(/\nThe person refused: Not tonight\n$/)
  const nobody = run('bob')
  expect([await nobody.ended, nobody.said.err]).toEqual([
    1,
    'bob has lent this agent nothing, or is not known.\n',
  ])
})

test('docs/ciba.md says how to run it', async () => {
  const page = await readFile(new URL('../../docs/ciba.md', import.meta.url), 'utf8')
  expect(page).toContain('npm run -s example -- ciba')
})
