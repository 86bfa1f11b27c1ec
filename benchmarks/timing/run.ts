import { parseArgs } from 'node:util'
import { message } from '../../test/mcp/world.ts'
import { auc, medians, quantile } from './auc.ts'
import { ids, openTimingWorld, type Who } from './world.ts'

/**
 * Whether the time of a 404 tells what is there: requests for what never was and for what is hidden in
 * several ways, in random turn, one after the other, over loopback, on native Postgres and a real OpenFGA
 * server (TEST_DATABASE_URL, a database is made there; OPENFGA_TEST_URL, OPENFGA_TEST_TOKEN). Of each case:
 * milliseconds, and how well one request, and the median of ten, tells it from what never was (AUC: 0.5 not
 * at all). "never was, another" is the noise. Ends with 1 where one request tells more than 0.53, or the
 * median of ten more than 0.56. `--requests 1000`: of each case at each face; the bounds are meant for 5,000.
 * `--faces person,agent` some of them.
 */
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '5000' },
    warm: { type: 'string', default: '100' },
    faces: { type: 'string', default: 'person,narrowed,agent,mcp,approval' },
  },
})
const requests = Number(values.requests)
const warm = Number(values.warm)
const oneMax = 0.53
const tenMax = 0.56
// A token lives for five minutes.
const renewAfterMs = 120_000

type Case = keyof typeof ids
type Face = Exclude<Who, 'asking'> | 'approval'

const none: Case = 'never was'
const forBoth: readonly Case[] = [
  none,
  'never was, another',
  'hidden flat',
  'hidden in folders and groups',
  'ended',
  'blocked',
]
const casesOf: Readonly<Record<Face, readonly Case[]>> = {
  person: forBoth,
  narrowed: [...forBoth, 'filed elsewhere'],
  agent: [...forBoth, 'sensitive, not to be told of', 'filed elsewhere'],
  mcp: [...forBoth, 'sensitive, not to be told of', 'filed elsewhere'],
  // Somebody else's instead of what is hidden.
  approval: [none, 'never was, another', 'hidden flat'],
}

await using world = await openTimingWorld()
const missed: string[] = []
for (const face of values.faces.split(',') as Face[]) await measure(face, casesOf[face])
if (missed.length > 0) {
  console.log(`missed: ${missed.join('; ')}`)
  process.exitCode = 1
}

async function measure(face: Face, cases: readonly Case[]): Promise<void> {
  const times = new Map<Case, number[]>(cases.map((one) => [one, []]))
  let token = ''
  let renewAt = 0
  let unavailable = 0
  for (let round = -warm; round < requests; round += 1) {
    if (Date.now() >= renewAt) {
      token = await tokenFor(face)
      renewAt = Date.now() + renewAfterMs
      // At its first sight it is verified.
      await ask(face, token, none)
    }
    const took = new Map<Case, number>()
    for (const one of shuffled(cases)) {
      const began = performance.now()
      if (await ask(face, token, one)) took.set(one, performance.now() - began)
    }
    // A round in which something did not answer at all is no round.
    if (took.size < cases.length) unavailable += 1
    else if (round >= 0) for (const [one, ms] of took) times.get(one)?.push(ms)
  }
  if (unavailable > 0) console.log(`\n${face}: ${unavailable} rounds left out, with a 503 in them`)
  console.log(`\n${face}, ${requests} requests a case: ms p10, p50, p90 · AUC of one, of the median of ten`)
  const nothing = times.get(none) ?? []
  for (const [name, some] of times) {
    const [one, ten] = [auc(some, nothing), auc(medians(some, 10), medians(nothing, 10))]
    const at = [0.1, 0.5, 0.9].map((share) => quantile(some, share).toFixed(1)).join(', ')
    console.log(`  ${name.padEnd(32)} ${at.padEnd(20)} ${one.toFixed(3)}  ${ten.toFixed(3)}`)
    if (off(one) > off(oneMax) || off(ten) > off(tenMax)) missed.push(`${face}: ${name}`)
  }
}

function tokenFor(face: Face): Promise<string> {
  return world.token(face === 'approval' ? 'asking' : face)
}

/** False: a 503. Throws for anything but that or a 404. */
async function ask(face: Face, token: string, one: Case): Promise<boolean> {
  const headers = { authorization: `Bearer ${token}` }
  if (face === 'mcp') {
    const { body, headers: own } = message('tools/call', {
      name: 'read_document',
      arguments: { id: ids[one] },
    })
    const response = await fetch(`${world.url}/mcp`, {
      method: 'POST',
      headers: { ...headers, ...own },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    if (text.includes('not_found')) return true
    if (text.includes('unavailable')) return false
    throw new Error(`${one} at ${face}: ${response.status} ${text}`)
  }
  const path =
    face === 'approval' ? `approvals/${approvalOf(one)}` : `documents/${encodeURIComponent(ids[one])}`
  const response = await fetch(`${world.url}/${path}`, { headers })
  await response.text()
  if (response.status !== 404 && response.status !== 503)
    throw new Error(`${one} at ${face}: ${response.status}`)
  return response.status === 404
}

function approvalOf(one: Case): string {
  if (one === 'hidden flat') return world.approvalOfBob
  return `ap_${Buffer.from(one.padEnd(16).slice(-16)).toString('base64url')}`
}

/** How far from telling nothing. */
function off(value: number): number {
  return Math.abs(value - 0.5)
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item)
}
