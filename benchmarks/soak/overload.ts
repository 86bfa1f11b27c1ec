import { setTimeout as sleep } from 'node:timers/promises'
import { administer } from '../../test/support/administer.ts'
import { startOpenFga } from '../../test/support/openfga-server.ts'
import { openPair } from '../../test/support/pair.ts'
import { startPostgres } from '../../test/support/postgres.ts'
import { agentsCount, asked, targetOn } from '../approvals/target.ts'
import { quantile } from '../search/statistics.ts'

/**
 * Two processes of the service that are asked for ten times what they can do, by people and agents who all
 * ask alike, beside an import; then by one agent alone beside others who ask little. Goodput: whole answers
 * within the deadline. Its peak is the best of several numbers of clients that each wait for their answer.
 * Everything is of its own, and the load is made in this very process, on the same cores. Ends with 1 where
 * goodput falls under 80 % of the peak, a refusal has no Retry-After, or one of the others' questions in
 * twenty is refused.
 *
 *   npm run overload
 *
 * Needs `.ci/services` and EMBEDDINGS_MODEL_PATH.
 */
const { EMBEDDINGS_MODEL_PATH } = process.env
if (EMBEDDINGS_MODEL_PATH === undefined) throw new Error('Set EMBEDDINGS_MODEL_PATH.')
const deadlineMs = 5_000
const [documents, imported] = [1_000, 400]
const [closedSeconds, openSeconds] = [8, 20]
const subjects = 'harbour crane ledger otter signal tide vessel winch buoy compass'.split(' ')

interface Asked {
  readonly by: string
  readonly tookMs: number
  readonly outcome: 'good' | 'incomplete' | 'refused' | 'wrong'
}

await using postgres = await startPostgres('max_connections = 200\n')
await administer(postgres.url, 'create database openfga')
const ofOpenfga = Object.assign(new URL(postgres.url), { pathname: '/openfga', search: '?sslmode=disable' })
await using openfga = await startOpenFga(ofOpenfga.href)
await using pair = await openPair({
  databaseUrl: postgres.url,
  openfga,
  env: { EMBEDDINGS_MODEL_PATH, MALLOC_TRIM_THRESHOLD_: '131072' },
})
const target = await targetOn(pair)
let turn = 0
const random = (below: number): number => Math.floor(Math.random() * below)
const anybody = (): string => names()[random(names().length)] as string
const wrong = new Map<string, number>()
const missed: string[] = []

await (await importing(0, documents)).ended
const tokens = new Map<string, string>()
await freshTokens()
await closed(4, 4)

let peak = 0
for (const clients of [1, 2, 4, 8, 16]) {
  const all = await closed(clients, closedSeconds)
  const good = goodput(all, closedSeconds)
  peak = Math.max(peak, good)
  await say(`${clients} clients`, all, closedSeconds)
}
await freshTokens()
const many = await importing(documents, imported)
const over = await open(anybody, 10 * peak, openSeconds)
await say(
  `ten times that, ${(10 * peak).toFixed(0)}/s, by ${names().length}, beside an import of ${imported}`,
  over,
  openSeconds,
)
if (goodput(over, openSeconds) < 0.8 * peak) missed.push('80 % of the peak')
const importTook = await many.ended
console.log(`the import of ${imported} took ${(importTook / 1_000).toFixed(0)} s`)
await freshTokens()
const [flood, ...others] = names() as [string, ...string[]]
const alone = await Promise.all([
  open(() => flood, 10 * peak, openSeconds),
  open(() => others[random(others.length)] as string, others.length / 4, openSeconds),
])
await say('one agent alone asks as much', alone[0], openSeconds)
await say(`${others.length} others beside it, one question each in four seconds`, alone[1], openSeconds)
if (goodput(alone[1], openSeconds) < (0.95 * others.length) / 4)
  missed.push('the others beside one who floods')
await sleep(2_000)
const after = await closed(8, closedSeconds)
await say('8 clients, afterwards', after, closedSeconds)
for (const [what, times] of wrong) missed.push(`${what} × ${times}`)
for (const what of missed) console.log(`MISSED: ${what}`)
if (missed.length > 0) process.exitCode = 1

function names(): string[] {
  return [...tokens.keys()]
}

async function freshTokens(): Promise<void> {
  for (const person of ['anne', 'bob']) tokens.set(person, await pair.personToken(person))
  for (let index = 0; index < agentsCount; index += 1)
    tokens.set(`bench-bot-${index}`, await target.agentToken(`bench-bot-${index}`))
}

async function ask(by: string): Promise<Asked> {
  turn += 1
  const beganAt = performance.now()
  const ended = (outcome: Asked['outcome']): Asked => ({ by, tookMs: performance.now() - beganAt, outcome })
  const fails = (what: string): Asked => {
    wrong.set(what, (wrong.get(what) ?? 0) + 1)
    return ended('wrong')
  }
  const response = await fetch(`${pair.urls[turn % 2]}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens.get(by)}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      query: `what the ${subjects[random(subjects.length)]} of ${random(documents)} says`,
    }),
    signal: AbortSignal.timeout(2 * deadlineMs),
  }).catch((error: unknown) => String((error as { cause?: unknown }).cause ?? error))
  if (typeof response === 'string') return fails(`no answer: ${response.slice(0, 80)}`)
  const body = await response.text().catch(() => '')
  if (response.status === 503)
    return response.headers.has('retry-after') || body.includes('deadline_exceeded')
      ? ended('refused')
      : fails('a refusal without Retry-After')
  if (response.status !== 200) return fails(`${response.status} ${body.slice(0, 120)}`)
  const { complete } = JSON.parse(body) as { readonly complete: boolean }
  return ended(complete && performance.now() - beganAt <= deadlineMs ? 'good' : 'incomplete')
}

/** Each client asks again as soon as it has its answer; one that is refused comes back as it is told. */
async function closed(clients: number, seconds: number): Promise<Asked[]> {
  const all: Asked[] = []
  const until = performance.now() + 1_000 * seconds
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < until) {
        const one = await ask(anybody())
        all.push(one)
        if (one.outcome === 'refused') await sleep(1_000)
      }
    }),
  )
  return all
}

/** So many a second, however late the answers are, and nobody comes back. */
async function open(who: () => string, perSecond: number, seconds: number): Promise<Asked[]> {
  const asking: Promise<Asked>[] = []
  const beganAt = performance.now()
  for (let index = 0; index < perSecond * seconds; index += 1) {
    await sleep(Math.max(0, beganAt + (1_000 * index) / perSecond - performance.now()))
    asking.push(ask(who()))
  }
  return Promise.all(asking)
}

async function importing(from: number, count: number): Promise<{ readonly ended: Promise<number> }> {
  const headers = { authorization: `Bearer ${await pair.serviceToken('loader')}` }
  const line = (_: unknown, index: number): string =>
    JSON.stringify({
      id: `bench/${from + index}`,
      collection: 'bench',
      title: `Note ${from + index}`,
      text: `The ${subjects[(from + index) % 10]} of ${from + index} says ${subjects.join(' ')}.`,
      mime_type: 'text/plain',
      access: { viewers: ['user:anne', 'user:bob'] },
    })
  const beganAt = performance.now()
  const { job } = (await asked(`${pair.urls[0]}/imports`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/x-ndjson' },
    body: `${Array.from({ length: count }, line).join('\n')}\n`,
  })) as { readonly job: { readonly id: string } }
  const ended = async (): Promise<number> => {
    for (;;) {
      const { state } = (await asked(`${pair.urls[0]}/jobs/${job.id}`, { headers })) as {
        readonly state: string
      }
      if (state === 'done') return performance.now() - beganAt
      if (state === 'failed') throw new Error('The import failed.')
      await sleep(500)
    }
  }
  return { ended: ended() }
}

function goodput(all: readonly Asked[], seconds: number): number {
  return all.filter(({ outcome }) => outcome === 'good').length / seconds
}

/** How many may run at once in each process now. */
async function atOnce(): Promise<string> {
  const found = pair.opsUrls.map(async (url) => {
    const text = await (await fetch(`${url}/metrics`)).text()
    return /^remit_turns_at_once (.*)$/m.exec(text)?.[1] ?? '?'
  })
  return (await Promise.all(found)).join(' and ')
}

async function say(what: string, all: readonly Asked[], seconds: number): Promise<void> {
  const count = (outcome: Asked['outcome']): number => all.filter((one) => one.outcome === outcome).length
  const took = all.filter(({ outcome }) => outcome === 'good').map(({ tookMs }) => tookMs)
  const share = peak > 0 ? ` (${(goodput(all, seconds) / peak).toFixed(2)} of the peak)` : ''
  console.log(
    `${what}: ${goodput(all, seconds).toFixed(1)} good answers a second${share}, p50 ${quantile(took, 0.5).toFixed(0)} ms, p95 ${quantile(took, 0.95).toFixed(0)} ms; incomplete ${count('incomplete')}, refused ${count('refused')}, wrong ${count('wrong')}; at once ${await atOnce()}`,
  )
}
