import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { openKeyRing } from '../../src/delegation/tokens/signing-key.ts'
import { native, needsOpenfga, needsPostgres } from '../support/native.ts'
import { openPair, type Pair } from '../support/pair.ts'

/** A checkout of an earlier version: `git worktree add ../old v0.9.0 && cd ../old && npm ci`. */
const earlier = process.env['ROLLING_FROM']
const needs = needsPostgres.skip ? needsPostgres : needsOpenfga

interface Told {
  readonly who: 'anne' | 'bob'
  readonly at: number
  readonly ids: readonly string[]
}

describe('two processes of an earlier version, replaced one after the other', needs, () => {
  test('answer every question meanwhile, and what one of them takes away the other gives nobody', {
    timeout: 600_000,
  }, async () => {
    const { databaseUrl = '', openfga = { url: '', token: '' } } = native
    await using pair = await openPair({ databaseUrl, openfga, checkout: earlier ?? '' })
    const versionOf = async (which: 0 | 1) =>
      ((await (await fetch(`${pair.opsUrls[which]}/readyz`)).json()) as { version: string }).version
    const before = [await versionOf(0), await versionOf(1)]
    await pair.command('collection', 'add', 'handbook', '--title', 'Handbook')
    await pair.command('service', 'add', 'loader', '--collection', 'handbook')
    await put(pair, 'plan', ['user:anne', 'user:bob'])
    const question = async (which: 0 | 1, who: Told['who']) =>
      fetch(`${pair.urls[which]}/retrieve`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${await personToken(pair, who)}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ query: 'the plan of travel' }),
      })
    // Searches of the other learn of it a moment later.
    const isFound = async (which: 0 | 1) => (await (await question(which, 'bob')).text()).includes('"plan"')
    for (const which of [0, 1] as const)
      await expect.poll(() => isFound(which), { timeout: 30_000, interval: 200 }).toBe(true)

    // Whoever replaces a process first takes it out of what is asked, as an orchestrator does.
    const rotation = new Set<0 | 1>([0, 1])
    const [told, failed]: [Told[], string[]] = [[], []]
    const ended = new AbortController()
    const asking = [ask('anne', 0), ask('bob', 1)]

    async function ask(who: Told['who'], first: number): Promise<void> {
      for (let turn = first; !ended.signal.aborted; turn += 1) {
        const which = ([0, 1] as const).filter((one) => rotation.has(one)).at(turn % rotation.size) ?? 0
        const at = Date.now()
        try {
          const response = await question(which, who)
          const body = (await response.json()) as { results?: { document_id: string }[] }
          if (response.status !== 200) failed.push(`${which}: ${response.status} ${JSON.stringify(body)}`)
          else told.push({ who, at, ids: (body.results ?? []).map(({ document_id }) => document_id) })
        } catch (error) {
          failed.push(`${which}: ${String(error)}`)
        }
        await sleep(50)
      }
    }

    async function replace(which: 0 | 1): Promise<void> {
      rotation.delete(which)
      await sleep(1_000)
      await pair.replace(which, process.cwd())
      rotation.add(which)
      await sleep(3_000)
    }

    await sleep(2_000)
    await replace(0)
    // Both versions answer now. The new one takes away what the old one has given.
    const takingAt = Date.now()
    await send(pair, 'PUT', '/documents/plan/access', { viewers: ['user:anne'] })
    const takenAt = Date.now()
    await sleep(3_000)
    await replace(1)
    ended.abort()
    await Promise.all(asking)

    const after = [await versionOf(0), await versionOf(1)]
    process.stdout.write(
      `${before.join(', ')} → ${after.join(', ')}: ${told.length + failed.length} questions, ${failed.length} failed.\n`,
    )
    expect(failed).toEqual([])
    expect(told.length).toBeGreaterThan(50)
    const ofBob = told.filter(({ who }) => who === 'bob')
    expect(ofBob.filter(({ at, ids }) => at < takingAt - 1_000 && ids.length === 0)).toEqual([])
    expect(ofBob.filter(({ at, ids }) => at >= takenAt + 1_000 && ids.length > 0)).toEqual([])
    expect(told.filter(({ who, ids }) => who === 'anne' && ids[0] !== 'plan')).toEqual([])
  })
})

async function send(pair: Pair, method: string, path: string, body?: object): Promise<Response> {
  const response = await fetch(`${pair.urls[0]}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${await pair.serviceToken('loader')}`,
      'content-type': 'application/json',
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return response
}

async function put(pair: Pair, id: string, viewers: readonly string[]): Promise<void> {
  const document = { id, collection: 'handbook', title: id, text: 'The plan of travel.', access: { viewers } }
  const { job } = (await (await send(pair, 'PUT', `/documents/${id}`, document)).json()) as {
    job: { id: string }
  }
  for (;;) {
    const { state } = (await (await send(pair, 'GET', `/jobs/${job.id}`)).json()) as { state: string }
    if (state === 'failed') throw new Error('It was not taken in.')
    if (state === 'done') return
    await sleep(200)
  }
}

async function personToken({ keysDir, publicUrl }: Pair, sub: string): Promise<string> {
  const key = (await openKeyRing(keysDir, { now: Date.now })).current()
  return new SignJWT({
    client_id: 'cli',
    scope: 'docs.search docs.read',
    sub_profile: 'user',
    jti: `j_${randomUUID()}`,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .setIssuer(`${publicUrl}/oauth`)
    .setSubject(sub)
    .setAudience(publicUrl)
    .setIssuedAt()
    .setExpirationTime('290 s')
    .sign(key.privateKey)
}
