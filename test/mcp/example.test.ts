import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Decision } from '../../src/delegation/approvals/decide.ts'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { programEnv } from '../support/program-env.ts'

// The example as somebody would run it, a process of its own; the person signs in, agrees and decides
// meanwhile.
const example = fileURLToPath(new URL('../../examples/mcp.ts', import.meta.url))
const patience = 30_000
// Two passages of one document, each below its heading.
const travel = ['', ' of guests']
  .map((whose) => `# Travel${whose}\n\nTravel costs${whose}.\n\n${'They are paid back. '.repeat(120)}`)
  .join('\n\n')
let world: IssuerWorld

beforeAll(async () => {
  world = await openIssuerWorld()
  await world.service.clients.register(
    { clientId: 'example-mcp', kind: 'agent', agent: 'research-bot' },
    { title: 'MCP example', redirectUris: ['http://127.0.0.1/callback'], jwks: undefined },
  )
  await world.put({
    'handbook/travel': { title: 'Travel', text: travel, access: { viewers: ['user:anne'] } },
    'handbook/board': {
      title: 'Minutes',
      text: 'Travel costs of the board.',
      access: { viewers: ['user:anne'], sensitive: true },
    },
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())

function run() {
  const env = { ...programEnv, PUBLIC_URL: world.url }
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

/** Goes to the page that the program names, agrees there, and comes back to it. */
async function agree({ said }: ReturnType<typeof run>): Promise<void> {
  await expect.poll(() => said.err, { timeout: patience }).toMatch(/Open in a browser: \S+\n/)
  const browser = world.browser()
  const page = await browser.open(/Open in a browser: (\S+)\n/.exec(said.err)?.[1] ?? '')
  const { url } = await world.consent(browser, page, { objects: ['collection:handbook'] })
  expect(url.hostname).toBe('127.0.0.1')
  expect((await fetch(url)).status).toBe(200)
}

async function decide({ said }: ReturnType<typeof run>, decision: Decision): Promise<void> {
  await expect.poll(() => said.err, { timeout: patience }).toContain('Your answer is asked for at')
  const id = /\/approvals\/(ap_[\w-]+)\n/.exec(said.err)?.[1] ?? ''
  const { approvals } = world.service
  const shown = await approvals.oneOfMine('user:anne', id)
  if (shown === undefined) throw new Error('It is not shown to anne.')
  const session = { person: 'anne', subject: 'user:anne' as const, verifiedAt: new Date() }
  await approvals.decide('user:anne', id, decision, { digest: digestOf(shown), session })
}

test('signs its person in, asks, has them agree to more, and reads what that opens', {
  timeout: 90_000,
}, async () => {
  const program = run()
  await agree(program)
  await decide(program, { answer: 'approve' })
  expect([await program.ended, program.said.out.split('\n')]).toEqual([
    0,
    [
      'handbook/travel  Travel',
      '    Travel costs.',
      '— and with your yes:',
      expect.stringMatching(/^handbook\/(travel|board) {2}/),
      expect.stringMatching(/^ {4}Travel costs/),
      expect.stringMatching(/^handbook\/(travel|board) {2}/),
      expect.stringMatching(/^ {4}Travel costs/),
      '',
    ],
  ])
})

test('ends with its person’s no, and reads nothing more', { timeout: 90_000 }, async () => {
  const program = run()
  await agree(program)
  await decide(program, { answer: 'deny', reason: 'Not today' })
  expect([await program.ended, program.said.out]).toEqual([1, 'handbook/travel  Travel\n    Travel costs.\n'])
  expect(program.said.err).toContain('Not today')
})
