import { randomBytes } from 'node:crypto'
import { createEnvelope, type SealedTokens } from '../../src/delegation/vault/envelope.ts'
import { createLocalKeys } from '../../src/delegation/vault/keys.ts'
import { linkAccounts } from '../../test/support/linked.ts'
import { openPair } from '../../test/support/pair.ts'
import { providerSecret, providerSecretVariable, startProvider } from '../../test/support/provider.ts'

/**
 * The vault: sealing and opening; a call through `POST /vault/fetch` beside one that its caller makes by
 * itself; and how often a provider is asked to refresh by 50 calls at once in two processes. Two real service
 * processes on one native Postgres and one OpenFGA server: TEST_DATABASE_URL (a database is made there),
 * OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN. The provider is a double in this process. Ends with 1 where a figure
 * is missed.
 */
const { TEST_DATABASE_URL, OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN } = process.env
if (TEST_DATABASE_URL === undefined || OPENFGA_TEST_URL === undefined || OPENFGA_TEST_TOKEN === undefined)
  throw new Error('Set TEST_DATABASE_URL, OPENFGA_TEST_URL and OPENFGA_TEST_TOKEN.')

const records = 5_000
const warmingUp = 500
const calls = 400
const rounds = 20
const atOnce = 50

await sealing()
await using double = await startProvider()
await using pair = await openPair({
  databaseUrl: TEST_DATABASE_URL,
  openfga: { url: OPENFGA_TEST_URL, token: OPENFGA_TEST_TOKEN },
  env: {
    VAULT_PROVIDERS: JSON.stringify([double.entry()]),
    [providerSecretVariable]: providerSecret,
    OUTBOUND_ALLOWED_ORIGINS: double.origin,
  },
})
const accounts = await linkAccounts(pair, double)
const id = await accounts.link({ endsInSeconds: 3_600 })
const { token } = await pair.agentToken('anne', 'vault.use')
await calling()
const most = await refreshing()
if (most !== 1) {
  console.log('missed: exactly one refresh')
  process.exitCode = 1
}

async function sealing(): Promise<void> {
  const envelope = createEnvelope(createLocalKeys([{ version: 'one', key: randomBytes(32) }]))
  const place = { connection: 'c_1', subject: 'user:anne' }
  // As long as those of a provider whose tokens say everything themselves: 1.8 kB.
  const pair = {
    accessToken: randomBytes(900).toString('base64url'),
    refreshToken: randomBytes(450).toString('base64url'),
  }
  const sealed: SealedTokens[] = []
  let [seal, open] = [0, 0]
  for (let from = 0; from < records + warmingUp; from += 100) {
    const mine: SealedTokens[] = []
    const sealedIn = await timed(async () => {
      for (let time = 0; time < 100; time += 1) mine.push(await envelope.seal(place, pair))
    })
    const openedIn = await timed(async () => {
      for (const one of mine) await envelope.open(place, one)
    })
    sealed.push(...mine)
    if (from < warmingUp) continue
    seal += sealedIn
    open += openedIn
  }
  const bytes = sealed[0]?.jwe.length ?? 0
  console.log(`seal ${perSecond(records / seal)}, open ${perSecond(records / open)}; ${bytes} bytes sealed`)
}

/** By turns, one of each: a shared machine is another one a second later. */
async function calling(): Promise<void> {
  const { accessToken } = double.grant()
  const took = { direct: [] as number[], through: [] as number[] }
  for (let time = 0; time < calls + 50; time += 1) {
    const direct = await timed(async () => {
      const response = await fetch(`${double.origin}/issues`, {
        headers: { authorization: `Bearer ${accessToken}` },
      })
      await response.text()
    })
    const through = await timed(() => ask(pair.urls[0]))
    if (time < 50) continue
    took.direct.push(direct)
    took.through.push(through)
  }
  console.log(`direct ${quantiles(took.direct)}`)
  console.log(`/vault/fetch ${quantiles(took.through)} of ${calls} each, one after the other`)
}

/** The most refreshes that any round took. */
async function refreshing(): Promise<number> {
  double.tokenDelayMs = 50
  const counts: number[] = []
  const took: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    await accounts.end(id)
    const before = double.tokenRequests.length
    took.push(
      await timed(async () => {
        await Promise.all(Array.from({ length: atOnce }, (_, index) => ask(pair.urls[index % 2] ?? '')))
      }),
    )
    counts.push(double.tokenRequests.length - before)
  }
  const once = counts.filter((count) => count === 1).length
  console.log(
    `${atOnce} calls at once in two processes over a token that is over: one refresh in ${once} of ${rounds} rounds, at most ${Math.max(...counts)}; all ${atOnce} answered in ${quantiles(took)}`,
  )
  return Math.max(...counts)
}

async function ask(url: string): Promise<void> {
  const response = await fetch(`${url}/vault/fetch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ connection: 'acme', method: 'GET', path: '/issues' }),
  })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`/vault/fetch: ${response.status} ${text}`)
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** Of a number a millisecond. */
function perSecond(value: number): string {
  return `${Math.round(1_000 * value).toLocaleString('en')}/s`
}

function quantiles(values: readonly number[]): string {
  const sorted = values.toSorted((one, other) => one - other)
  return [0.5, 0.95, 1]
    .map((share) => {
      const at = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
      return `p${share * 100} ${at.toFixed(1)} ms`
    })
    .join(', ')
}
