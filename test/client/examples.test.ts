import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'

// Each as somebody would run it: a process of its own, which asks the service for Anne, or for Bob.
const examples = ['openai-tools', 'ai-sdk', 'langchain']
let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({
    'handbook/travel': {
      title: 'Travel',
      text: 'Travel costs are refunded.',
      access: { viewers: ['user:anne'] },
    },
  })
  for (const user of ['anne', 'bob']) await world.lend(user, 'research-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function run(example: string, user: string, token: string) {
  const path = fileURLToPath(new URL(`../../examples/${example}.ts`, import.meta.url))
  const env = { PATH: process.env['PATH'], PUBLIC_URL: world.url, PERSON: user, TOKEN: token }
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
