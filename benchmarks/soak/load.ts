import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LinkedAccounts } from '../../test/support/linked.ts'
import type { Pair } from '../../test/support/pair.ts'
import { ask, wait } from '../approvals/asking.ts'
import { agentsCount, asked, targetOn } from '../approvals/target.ts'
import type { Task } from './pace.ts'

/** What the load needs beside two processes. */
export interface Around {
  readonly accounts: LinkedAccounts
  /** A folder that a source may read. */
  readonly folder: string
}

export interface Load {
  readonly tasks: readonly Task[]
  /** What must never be seen, by what it was, and how often. */
  readonly findings: ReadonlyMap<string, number>
  /** Passages that questions were given. */
  passages(): number
  /** Looks whether the answers given since the last look are on record. */
  lookAtRecord(): Promise<void>
}

interface Found {
  readonly results: readonly { readonly document_id: string }[]
  readonly complete: boolean
  readonly txn: string
}

// Signed for 290 s.
const tokenMs = 120_000
// A `fast` answer may repeat its own yes for as long: OPENFGA_CACHE_TTL.
const fastMs = 10_000
// The same documents come again and again with other words: nothing grows that is not meant to.
const counts = { both: 600, anne: 200, bob: 200, flip: 100, come: 60 }
const anchor = 'bench/anchor'
const subjects = 'harbour crane ledger otter signal tide vessel winch buoy compass'.split(' ')

/**
 * What two processes are asked for, all at once: questions by people, agents and over MCP, reads, new
 * content, re-tags, withdrawals, imports, approvals, calls to accounts, exchanges, delegations, the console,
 * a source. It knows by itself who may read what, and what was taken away when.
 */
export async function openLoad(pair: Pair, { accounts, folder }: Around): Promise<Load> {
  const target = await targetOn(pair)
  const findings = new Map<string, number>()
  const finds = (what: string): void => void findings.set(what, (findings.get(what) ?? 0) + 1)
  const random = (below: number): number => Math.floor(Math.random() * below)
  let turn = 0
  const anyUrl = (): string => {
    turn += 1
    return pair.urls[turn % 2] as string
  }
  let revision = 0
  let passages = 0
  /** Answers since the last look: a token's answers all have its `txn`. */
  let given = new Map<string, number>()
  const seen = new Map<string, number>()

  const kept = new Map<string, { readonly value: Promise<unknown>; readonly until: number }>()
  /** Made once for all who ask within two minutes. */
  function held<T>(name: string, make: () => Promise<T>): Promise<T> {
    const now = performance.now()
    const known = kept.get(name)
    if (known !== undefined && known.until > now) return known.value as Promise<T>
    const value = make()
    kept.set(name, { value, until: now + tokenMs })
    return value
  }
  const json = (token: string) => ({ authorization: `Bearer ${token}`, 'content-type': 'application/json' })
  const person = async (name: string) => json(await held(name, () => pair.personToken(name)))
  const agent = async () => json(await held('agent', () => target.agentToken('bench-bot-0')))
  const loader = async () => json(await held('loader', () => pair.serviceToken('loader')))
  const browser = () => held('browser', () => target.browser())
  const operator = async () =>
    json(await held('operator', () => pair.personToken('carol', 'security.read security.write')))

  /** One request: its body where the status is right, undefined where it refuses; else it throws. */
  async function made(
    address: string,
    init: RequestInit,
    right: readonly number[] = [200, 201, 202, 204],
  ): Promise<{ readonly status: number; readonly body: string } | undefined> {
    const response = await fetch(address, { ...init, signal: AbortSignal.timeout(20_000) }).catch(
      () => undefined,
    )
    if (response === undefined || response.status === 503 || response.status === 429) {
      await response?.arrayBuffer()
      return undefined
    }
    const body = await response.text()
    if (right.includes(response.status)) return { status: response.status, body }
    throw new Error(
      `${init.method ?? 'GET'} ${new URL(address).pathname.replaceAll(/[\w%-]*\d[\w%-]*/g, '…')}: ${response.status} ${body.slice(0, 160)}`,
    )
  }
  const at = (id: string): string => `${anyUrl()}/documents/${encodeURIComponent(id)}`
  const outcome = (answer: unknown) => (answer === undefined ? 'refused' : 'done')

  /** Since when a document is nothing to anne, by the clock that never jumps. */
  const goneAt = new Map<string, number>()

  function judge(name: string, found: Found, beganAt: number, graceMs: number): void {
    given.set(found.txn, (given.get(found.txn) ?? 0) + 1)
    for (const { document_id: id } of found.results) {
      passages += 1
      const owner = /^bench\/(anne|bob)-/.exec(id)?.[1]
      if (owner !== undefined && owner !== name) finds(`${name} was given what is ${owner}'s alone`)
      const since = name === 'anne' ? goneAt.get(id) : undefined
      if (since !== undefined && since + graceMs < beganAt) finds('anne was given what was taken away')
    }
  }

  const subject = (): string => subjects[random(subjects.length)] as string
  async function question(name: string, headers: Record<string, string>): Promise<'done' | 'refused'> {
    const isForAnchor = random(4) === 0
    const consistency = random(2) === 0 ? 'strict' : 'fast'
    const query = isForAnchor
      ? 'anchor of the old lighthouse'
      : `what the ${subject()} of ${random(600)} says`
    const beganAt = performance.now()
    const answer = await made(`${anyUrl()}/retrieve`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ query, consistency, top_k: 10 }),
    })
    if (answer === undefined) return 'refused'
    const found = JSON.parse(answer.body) as Found
    judge(name, found, beganAt, consistency === 'fast' ? fastMs : 0)
    if (isForAnchor && found.complete && !found.results.some(({ document_id: id }) => id === anchor))
      finds('the anchor is missing from a complete answer')
    return 'done'
  }

  async function overMcp(): Promise<'done' | 'refused'> {
    const token = await held('mcp', () => target.agentToken('bench-bot-0', 'mcp'))
    const beganAt = performance.now()
    const version = '2025-11-25'
    const answer = await made(`${anyUrl()}/mcp`, {
      method: 'POST',
      headers: {
        ...json(token),
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': version,
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/call',
        params: { name: 'retrieve', arguments: { query: `the ${subject()} of ${random(600)}` } },
      }),
    })
    if (answer === undefined) return 'refused'
    const data = /^data: (.*)$/m.exec(answer.body)?.[1] ?? answer.body
    const { result } = JSON.parse(data) as {
      readonly result?: { readonly isError?: boolean; readonly structuredContent?: Found }
    }
    const found = result?.structuredContent
    if (result?.isError === true && /overloaded|unavailable|deadline_exceeded/.test(data)) return 'refused'
    if (found === undefined) throw new Error(`POST /mcp: ${data.slice(0, 160)}`)
    judge('anne', found, beganAt, fastMs)
    return 'done'
  }

  const viewersOf: Readonly<Record<string, readonly string[]>> = { anne: ['user:anne'], bob: ['user:bob'] }
  const documentOf = (id: string) => {
    revision += 1
    const kind = /^bench\/([a-z]+)/.exec(id)?.[1] ?? ''
    const text =
      id === anchor
        ? 'The anchor of the old lighthouse.'
        : `The ${subject()} of ${/\d+$/.exec(id)?.[0]} says ${revision}. ${subjects.join(' ')}.`
    return {
      id,
      collection: 'bench',
      title: id,
      text,
      mime_type: 'text/plain',
      access: { viewers: viewersOf[kind] ?? ['user:anne', 'user:bob'] },
    }
  }
  const publish = async (id: string, prefer = 'respond-async') =>
    made(at(id), {
      method: 'PUT',
      headers: { ...(await loader()), prefer },
      body: JSON.stringify(documentOf(id)),
    })

  async function importMany(ids: readonly string[]): Promise<'done' | 'refused'> {
    const lines = ids.map((id) => `${JSON.stringify(documentOf(id))}\n`).join('')
    const url = pair.urls[0]
    const answer = await made(`${url}/imports`, {
      method: 'POST',
      headers: { ...(await loader()), 'content-type': 'application/x-ndjson' },
      body: lines,
    })
    if (answer === undefined) return 'refused'
    const { job } = JSON.parse(answer.body) as { readonly job: { readonly id: string } }
    for (const until = performance.now() + 180_000; performance.now() < until; await sleep(500)) {
      const looked = await made(`${url}/jobs/${job.id}`, { headers: await loader() })
      const now = JSON.parse(looked?.body ?? '{}') as { state?: string; failed?: number; errors?: unknown }
      if ((now.failed ?? 0) > 0 || now.state === 'failed')
        throw new Error(`The import failed: ${JSON.stringify(now.errors).slice(0, 160)}`)
      if (now.state === 'done') return 'done'
    }
    throw new Error('An import did not end within three minutes.')
  }

  const flips = Array.from({ length: counts.flip }, (_, index) => `bench/flip-${index}`)
  /** Takes a reader away, or gives the document back. */
  async function retag(): Promise<'done' | 'refused'> {
    const id = flips.shift() as string
    const isGone = goneAt.delete(id)
    const viewers = isGone ? ['user:anne', 'user:bob'] : ['user:bob']
    const answer = await made(`${at(id)}/access`, {
      method: 'PUT',
      headers: await loader(),
      body: JSON.stringify({ viewers }),
    })
    if (answer !== undefined && !isGone) goneAt.set(id, performance.now())
    // What became of a refused one nobody knows: it is tried again, the same way.
    if (answer === undefined && isGone) goneAt.set(id, Number.POSITIVE_INFINITY)
    flips.push(id)
    return outcome(answer)
  }

  const coming = Array.from({ length: counts.come }, (_, index) => `bench/come-${index}`)
  async function withdraw(): Promise<'done' | 'refused'> {
    const id = coming.shift() as string
    coming.push(id)
    const gone = await made(at(id), { method: 'DELETE', headers: await loader() }, [200, 202, 204, 404])
    if (gone === undefined) return 'refused'
    goneAt.set(id, performance.now())
    await sleep(4_000)
    goneAt.delete(id)
    return outcome(await publish(id))
  }

  async function read(): Promise<'done' | 'refused'> {
    const isOwn = random(2) === 0
    const id = isOwn ? `bench/anne-${random(counts.anne)}` : `bench/bob-${random(counts.bob)}`
    const answer = await made(at(id), { headers: await agent() }, [200, 404])
    if (answer?.status === 200 && !isOwn) finds("anne read what is bob's alone")
    if (answer?.status === 404 && isOwn) finds(`a published document was not there: ${answer.body}`)
    return outcome(answer)
  }

  let asking = 0
  async function approve(): Promise<'done' | 'refused'> {
    asking += 1
    const by = `bench-bot-${1 + (asking % (agentsCount - 2))}`
    const { id, decide } = await ask(target, by)
    await Promise.all([wait(target, by, id), decide()])
    return 'done'
  }

  async function callAccount(): Promise<'done' | 'refused'> {
    const { token } = await held('vault', () => pair.agentToken('anne', 'vault.use'))
    return outcome(
      await made(`${anyUrl()}/vault/fetch`, {
        method: 'POST',
        headers: json(token),
        body: JSON.stringify({ connection: 'acme', method: 'GET', path: '/issues' }),
      }),
    )
  }

  async function exchange(): Promise<'done' | 'refused'> {
    const body = await pair.exchangeForm(await pair.assertion())
    return outcome(await made(`${anyUrl()}/oauth/token`, { method: 'POST', body }))
  }

  async function revoke(): Promise<'done' | 'refused'> {
    const { token, delegation } = await pair.agentToken('anne')
    const isGood = async (url: string): Promise<boolean | undefined> => {
      const answer = await made(`${url}/jobs/none`, { headers: json(token) }, [401, 403])
      return answer && (JSON.parse(answer.body) as { code: string }).code === 'forbidden'
    }
    if ((await isGood(anyUrl())) === false) finds('a good token was refused')
    const ended = await made(`${anyUrl()}/delegations/${delegation}`, {
      method: 'DELETE',
      headers: await browser(),
    })
    if (ended === undefined) return 'refused'
    // In the other process within a second.
    await sleep(1_000)
    for (const url of pair.urls) if (await isGood(url)) finds('a revoked token was good')
    return 'done'
  }

  let note = 0
  /** A file of the source changes; anne finds it so, and nobody finds the one before. */
  async function changeFile(): Promise<'done' | 'refused'> {
    note += 1
    const word = `pelican${note}`
    await rm(join(folder, `note-${(note + 8) % 16}.md`), { force: true })
    await writeFile(join(folder, `note-${note % 16}.md`), `# Note\n\nThe ${word} has landed.`)
    for (const until = performance.now() + 120_000; performance.now() < until; await sleep(1_000)) {
      const answer = await made(`${anyUrl()}/retrieve`, {
        method: 'POST',
        headers: await person('anne'),
        body: JSON.stringify({ query: word, mode: 'keyword' }),
      })
      if (answer === undefined) continue
      const found = JSON.parse(answer.body) as Found
      judge('anne', found, performance.now(), fastMs)
      if (found.results.some(({ document_id: id }) => id === `notes/note-${note % 16}.md`)) return 'done'
    }
    throw new Error('A changed file was not found within two minutes.')
  }

  async function lookAtConsole(): Promise<'done' | 'refused'> {
    const page = await made(`${anyUrl()}/`, { headers: { ...(await browser()), accept: 'text/html' } })
    const listed = await made(`${anyUrl()}/audit?limit=20`, { headers: await operator() })
    return outcome(page && listed)
  }

  await pair.command('admin', 'add', 'user:carol', '--role', 'security.read', '--role', 'security.write')
  await pair.command('admin', 'add', 'user:dan', '--role', 'security.write')
  await pair.command('collection', 'add', 'shared', '--title', 'Shared')
  const proposed = (await asked(`${pair.urls[0]}/sources`, {
    method: 'POST',
    headers: await operator(),
    body: JSON.stringify({
      id: 'notes',
      kind: 'folder',
      collections: ['shared'],
      settings: { folder, access: { viewers: ['user:anne'] } },
      poll_seconds: 10,
    }),
  })) as { readonly source: { readonly digest: string } }
  await asked(`${pair.urls[0]}/sources/notes`, {
    method: 'POST',
    headers: json(await pair.personToken('dan', 'security.write')),
    body: JSON.stringify({ action: 'confirm', digest: proposed.source.digest }),
  })
  await accounts.link({ endsInSeconds: 3_600 })
  await publish(anchor, 'wait=10')
  const all = Object.entries(counts).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, index) => `bench/${kind}-${index}`),
  )
  for (let from = 0; from < all.length; from += 200) await importMany(all.slice(from, from + 200))

  const oneOf = (kind: keyof typeof counts): string => `bench/${kind}-${random(counts[kind])}`
  const task = (kind: string, perSecond: number, run: Task['run']): Task => ({ kind, perSecond, run })
  return {
    findings,
    passages: () => passages,
    tasks: [
      task('person', 2, async () => {
        const name = random(2) === 0 ? 'anne' : 'bob'
        return question(name, await person(name))
      }),
      task('agent', 2, async () => question('anne', await agent())),
      task('MCP', 0.5, overMcp),
      task('read', 1, read),
      task('publish', 0.5, async () => outcome(await publish(oneOf('both')))),
      task('re-tag', 0.5, retag),
      task('withdraw', 0.1, withdraw),
      task('import of 40', 1 / 60, () => importMany(Array.from({ length: 40 }, () => oneOf('both')))),
      task('approval', 1 / 45, approve),
      task('account', 0.5, callAccount),
      task('exchange', 0.5, exchange),
      task('revoke', 0.1, revoke),
      task('console', 0.2, lookAtConsole),
      task('source', 1 / 30, changeFile),
    ],
    async lookAtRecord() {
      const answers = given
      given = new Map()
      const rows = await pair.database.query<{ txn: string; count: number }>(
        `select txn, count(*)::int as count from decision_records
         where txn = any($1) and event = 'retrieved' group by txn`,
        [[...answers.keys()]],
      )
      const recorded = new Map(rows.map(({ txn, count }) => [txn, count]))
      for (const [txn, count] of answers) {
        // Those of a token that is still in use may be more by now, never fewer.
        const missing = count - ((recorded.get(txn) ?? 0) - (seen.get(txn) ?? 0))
        if (missing > 0) finds(`answers without a record: ${missing}`)
        seen.set(txn, (seen.get(txn) ?? 0) + count)
      }
    },
  }
}
