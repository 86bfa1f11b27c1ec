import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openIssuerWorld } from '../delegation/issuer/world.ts'
import { startCommand } from '../e2e/process.ts'
import { openVaultWorldOn } from '../http/vault-world.ts'
import { decide } from '../support/approvals.ts'
import { programEnv } from '../support/program-env.ts'

const openExamples = () => openVaultWorldOn(openIssuerWorld)

// Each as somebody would run it: a process of its own, which asks the service for Anne, or for Bob.
const examples = ['openai-tools', 'ai-sdk', 'langchain']
let vault: Awaited<ReturnType<typeof openExamples>>
let world: (typeof vault)['world']
beforeAll(async () => {
  vault = await openExamples()
  world = vault.world
  await world.put({
    'handbook/travel': {
      title: 'Travel',
      text: 'Travel costs are refunded.',
      access: { viewers: ['user:anne'] },
    },
    'handbook/merger': { text: 'The merger.', access: { viewers: ['user:anne'], sensitive: true } },
  })
  for (const user of ['anne', 'bob']) await world.lend(user, 'research-bot', 'collection:handbook')
})
afterAll(() => vault?.[Symbol.asyncDispose]())

async function run(example: string, user: string, token: string) {
  const path = fileURLToPath(new URL(`../../examples/${example}.ts`, import.meta.url))
  const env = { ...programEnv, PUBLIC_URL: world.url, PERSON: user, TOKEN: token }
  const options = { env, timeout: 25_000 }
  return promisify(execFile)(process.execPath, [path, 'What of travel costs?'], options).catch(
    (error: { readonly stdout: string; readonly stderr: string }) => error,
  )
}

test.each(examples)('examples/%s.ts answers each person from what they may read', async (example) => {
  for (const [user, source] of [
    ['anne', /^According to handbook\/travel( \(Travel\))?\.\n$/],
    ['bob', /^According to nothing that you may read\.\n$/],
  ] as const) {
    const token = await world.token({ user, agent: 'research-bot' })
    expect((await run(example, user, token)).stdout).toMatch(source)
  }
})

test.each(examples)('examples/%s.ts says in one line that its token does not count', async (example) => {
  const { stdout, stderr } = await run(example, 'anne', 'no-token')
  expect([stdout, stderr]).toEqual(['', expect.stringMatching(/^RemitError: The access token [^\n]*\n$/)])
})

/** A program of examples/, and Anne, who does on her pages what it says. */
async function start(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const settings = { PUBLIC_URL: world.url, PERSON: 'anne', TOKEN: vault.token, ...env }
  const running = startCommand([name, ...args], settings, 'examples/run.ts')
  return {
    async answers(): Promise<void> {
      await running.said('Asked: ap_')
      const [id = ''] = /ap_[\w-]+/.exec(running.stdout()) ?? []
      await decide(world.service, id, { answer: 'approve' })
    },
    running,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

test('examples/approval.ts asks, waits, and reads once what Anne agreed to', async () => {
  await using program = await start('approval', ['What of the merger?'])
  await program.answers()
  expect([(await program.running.exit).code, program.running.stderr()]).toEqual([0, ''])
  expect(program.running.stdout()).toContain(
    'Released, for this answer: handbook/merger\nAsked again: no longer.\n',
  )
})

test('examples/vault.ts has the account linked, reads, and writes once what Anne agreed to', async () => {
  await vault.anew()
  const seen = vault.double.apiRequests.length
  const env = { CONNECTION: 'acme', READ: '/issues/1', WRITE: '/issues' }
  await using program = await start('vault', [], env)
  await program.running.said('Link your account: ')
  expect(program.running.stdout()).toContain(`${world.url}/connections`)
  await vault.link()
  await program.answers()
  expect([(await program.running.exit).code, program.running.stderr()]).toEqual([0, ''])
  expect(program.running.stdout()).toMatch(/Wrote \/issues: 200\nOnce, and nothing else.\n$/)
  const sent = vault.double.apiRequests.slice(seen)
  expect(sent.map(({ method, body }) => `${method} ${body}`)).toEqual(['GET ', 'POST {"title":"An otter"}'])
})

test('npm run example ends with the sentence alone where TOKEN is missing', async () => {
  for (const name of ['approval', 'vault']) {
    await using program = await start(name, [], { TOKEN: '' })
    expect((await program.running.exit).code).toBe(1)
    expect(program.running.stderr()).toMatch(/^TOKEN is missing: TOKEN=[^\n]*\n$/)
  }
})

test('examples/README.md lists every program that there is, and about how long it is', () => {
  const folder = new URL('../../examples/', import.meta.url)
  const page = readFileSync(new URL('README.md', folder), 'utf8')
  const listed = [...page.matchAll(/\]\(([\w/-]+\.ts)\).* \| (\d+) \|$/gm)]
  expect(listed.map(([, file]) => file).sort()).toEqual(
    globSync(['*.ts', 'static-keys/*.ts'], { cwd: folder, exclude: ['run.ts'] }).sort(),
  )
  for (const [, file = '', lines] of listed) {
    const real = readFileSync(new URL(file, folder), 'utf8').split('\n').length
    expect(Math.abs(real - Number(lines)), `${file} has ${real} lines`).toBeLessThan(10)
  }
})
