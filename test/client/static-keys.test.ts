import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type Running, startCommand } from '../e2e/process.ts'
import { freePort } from '../support/port.ts'
import { enterCode } from './people.ts'

// Each step as somebody would run it: an API of others, whoever attacks it, the agent.
const INVOICES_KEY = 'one-key-for-all'
let world: IssuerWorld
let RESOURCE: string
let page: string
beforeAll(async () => {
  page = await readFile(new URL('../../docs/replace-static-keys.md', import.meta.url), 'utf8')
  world = await openIssuerWorld()
  RESOURCE = `http://127.0.0.1:${await freePort()}/api`
  await registerDemo()
  await world.service.issuer.resources.save({
    resource: RESOURCE,
    scopes: ['invoices'],
    authorizationDetailsTypes: ['invoices'],
    allowedClients: ['demo-agent-research-bot'],
    takesVerification: false,
  })
  await world.put({ 'handbook/a': { access: { viewers: ['user:anne'] } } })
  await world.lend('anne', 'research-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())

/**
 * The clients that the demo has: the person's own program, and the agent's, with a key in the home folder.
 */
async function registerDemo(): Promise<void> {
  const { clients } = world.service
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'demo', alg: 'ES256', kty: 'EC' as const }
  await clients.register(
    { clientId: 'remit-cli', kind: 'person' },
    { title: 'Remit on the command line', redirectUris: [], jwks: undefined },
  )
  await clients.register(
    { clientId: 'demo-agent-research-bot', kind: 'agent', agent: 'research-bot' },
    { title: 'Research', redirectUris: [], jwks: { keys: [jwk] } },
  )
  const folder = join(world.config.home, 'demo-clients')
  await mkdir(folder, { recursive: true })
  const key = { ...(await exportJWK(privateKey)), kid: 'demo', alg: 'ES256' }
  await writeFile(join(folder, 'demo-agent-research-bot.json'), JSON.stringify(key), { mode: 0o600 })
}

const start = (name: string, env: Readonly<Record<string, string>> = {}): Running =>
  startCommand(
    [],
    {
      PUBLIC_URL: world.url,
      ISSUER: world.issuer,
      REMIT_HOME: world.config.home,
      RESOURCE,
      INVOICES_KEY,
      ...env,
    },
    `examples/static-keys/${name}.ts`,
  )

async function ended(running: Running): Promise<string> {
  const { code } = await running.exit
  if (code !== 0) throw new Error(running.stderr())
  return running.stdout()
}

/** Anne signs in and agrees; what the agent then holds. */
async function obtain(): Promise<string> {
  await using running = start('token')
  await vi.waitFor(() => expect(running.stderr()).toContain('and enter'), { timeout: 20_000, interval: 50 })
  const [, verificationUri = '', userCode = ''] = /Open (\S+) and enter (\S+)/.exec(running.stderr()) ?? []
  await enterCode(world, { data: { verificationUri, userCode } } as never, {})
  return (await ended(running)).trim()
}

test.each(['step-1', 'step-2', 'step-3'])(
  '%s lets whoever has the key, or a token, do what docs/replace-static-keys.md says, and no more',
  async (step) => {
    await using api = start(step)
    await api.said('Invoices at')
    const stolen = { KEY: INVOICES_KEY, ...(step !== 'step-1' && { TOKEN: await obtain() }) }
    await using attack = start('attack', stolen)
    const section = page.split(/^## /m).find((one) => one.startsWith(step.replace('step-', 'Step ')))
    expect(section).toContain(`\`\`\`\n${await ended(attack)}\`\`\`\n`)
  },
)
