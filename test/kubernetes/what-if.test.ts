import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { compileModel, createTupleStore } from '@remit/engine'
import { expect, test } from 'vitest'
import { type KubernetesData, readKubernetes, sample } from '../../benchmarks/kubernetes/data.ts'
import { createRandom, type Random } from '../../benchmarks/kubernetes/random.ts'
import { seed } from '../../packages/engine/test/support/seed.ts'
import {
  delegatedAskers,
  type LiveDelegation,
  namesIn,
  ownAsker,
  strangerUser,
} from '../../src/authz/compare/askers.ts'
import { type Check, contextAt, type Fga, type Tuple } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createFga } from '../../src/authz/openfga.ts'
import { suppose } from '../../src/authz/what-if/suppose.ts'
import { documentObject, type FgaObject } from '../../src/kernel/ids.ts'
import { serverApi } from '../model/store.ts'
import { native, needsOpenfga, needsShared } from '../support/native.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')

// 200 on all of the data are run by hand (benchmarks/README.md); a few on a share of it each time.
const changes = Number(process.env['WHAT_IF_CHANGES'] ?? 6)
const share = Number(process.env['WHAT_IF_SHARE'] ?? 0.03)
// Of what a change is said to do, at most so many are asked of the server; and so many others beside them.
const predictedMax = 400
const others = 100
// A server that others use as well answers so many in its time.
const batch = 10

test(`on ${share} of the Kubernetes set, ${changes} random changes do on a real server what was said before (FUZZ_SEED=${seed})`, {
  ...(native.shared === undefined ? needsShared : needsOpenfga),
  timeout: 3_600_000,
}, async () => {
  const random = createRandom(seed)
  const data = sample(await readKubernetes(join(native.shared ?? '', 'data/kubernetes')), share, random)
  await using world = await load(data, random)
  const seen = {
    predicted: 0,
    asked: 0,
    changed: 0,
    changing: 0,
    questions: [] as number[],
    ms: [] as number[],
  }
  const wrong: string[] = []
  // More of them where most change nothing: how many do is by chance.
  for (let nth = 0; nth < changes || (seen.changed <= changes && nth < 10 * changes); nth++) {
    const change = world.draw()
    const predicted = new Map<string, boolean>()
    const started = performance.now()
    const { asked, stopped } = await suppose({
      change,
      before: world.model,
      after: world.model,
      tuples: world.tuples,
      delegations: world.delegations,
      context: contextAt(Date.now()),
      now: () => performance.now(),
      pause: () => setImmediate(),
      limits: { questions: 5_000_000, duration: 120_000 },
      take({ user, relation, delegation = '' }, document, { before, after }) {
        if ((before === true) !== (after === true))
          predicted.set(`${relation} ${user} ${delegation} ${document}`, after === true)
      },
    })
    expect(stopped).toBeUndefined()
    seen.ms.push(performance.now() - started)
    seen.questions.push(asked)
    seen.predicted += predicted.size
    if (predicted.size > 0) seen.changing += 1
    const questions = world.questionsFor(random, [...predicted.keys()])
    const before = await world.ask(questions)
    const named = new Set([...namesIn(world.tuples).people, ...change.writes.map(({ user }) => user)])
    await world.apply(change)
    const after = await world.ask(questions)
    seen.asked += questions.length
    for (const [index, question] of questions.entries()) {
      const measured = before[index] === after[index] ? undefined : after[index]
      if (measured !== undefined) seen.changed += 1
      // Whom no tuple names was asked about as anybody.
      const [, user = ''] = question.split(' ')
      const said = predicted.get(named.has(user) ? question : question.replace(user, strangerUser))
      if (measured !== said)
        wrong.push(`${JSON.stringify(change)}: ${question} ${before[index]}→${after[index]} ${said}`)
    }
  }
  const sorted = seen.ms.toSorted((a, b) => a - b)
  const at = (part: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0)
  console.log(
    `${data.documents.length} documents, ${world.tuples.size} tuples, ${changes} changes, ${seen.changing} of which change something: ${seen.predicted} gains and losses predicted; ${seen.asked} pairs asked of the server before and after, ${seen.changed} of them changed, ${wrong.length} otherwise than predicted. A prediction took p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, at most ${at(1)} ms`,
  )
  expect(wrong).toEqual([])
  expect(seen.changed).toBeGreaterThan(changes)
})

const line = ({ user, relation, object }: Tuple): string => `${user} ${relation} ${object}`

async function load(data: KubernetesData, random: Random) {
  const api = serverApi()
  const { id: store } = await api.createStore({ name: 'what-if' })
  const json = readDsl(dsl)
  const { authorization_model_id: modelId } = await api.writeAuthorizationModel(store, json)
  const fga: Fga = createFga(api, store, () => modelId)
  const until = { name: 'until', context: { expires_at: '2999-01-01T00:00:00Z' } } as const
  const repos = [...new Set(data.documents.map(({ repo }) => repo))]
  const people = random.pick(data.people, 40).map((id): FgaObject => `user:${id}`)
  const delegations = people
    .slice(0, 10)
    .map((subject, nth): LiveDelegation => ({ id: `d${nth}`, subject, agents: ['bot'] }))
  const lent = delegations.flatMap(({ id, subject }): Tuple[] => [
    { user: subject, relation: 'delegator', object: `delegation:${id}`, condition: until },
    { user: 'agent:bot', relation: 'agent', object: `delegation:${id}` },
    ...random.pick(repos, 4).map(
      (repo): Tuple => ({
        user: `delegation:${id}`,
        relation: 'delegated_to',
        object: `collection:${repo}`,
      }),
    ),
  ])
  const filed = [
    ...data.documents.map(
      ({ id, repo }): Tuple => ({
        user: `collection:${repo}`,
        relation: 'filed_in',
        object: documentObject(id),
      }),
    ),
    ...data.folders.map(
      (id): Tuple => ({
        user: `collection:${id.split('/').slice(0, 2).join('/')}`,
        relation: 'filed_in',
        object: `folder:${id}`,
      }),
    ),
  ]
  const raw = data.tuples.map(
    ({ user, relation, object }): Tuple => ({
      user,
      relation: relation === 'owner' || relation === 'editor' ? 'viewer' : relation,
      object: object as FgaObject,
    }),
  )
  const all = [...new Map([...raw, ...filed, ...lent].map((tuple) => [line(tuple), tuple])).values()]
  const parts = Array.from({ length: Math.ceil(all.length / 100) }, (_, nth) =>
    all.slice(nth * 100, nth * 100 + 100),
  )
  for (const writes of parts) await fga.write({ writes })
  const tuples = createTupleStore()
  let order = 0
  const add = (tuple: Tuple): void => {
    if (tuples.get(tuple) === undefined) tuples.add(tuple, String(order++).padStart(9, '0'))
  }
  for (const tuple of all) add(tuple)

  const one = <T>(items: readonly T[]): T => {
    const [found] = random.pick(items, 1)
    if (found === undefined) throw new Error('nothing to draw from')
    return found
  }
  const groups = data.groups.map((id) => `group:${id}`)
  const folders = data.folders.map((id): FgaObject => `folder:${id}`)
  const documents = data.documents.map(({ id }) => documentObject(id))
  const stored = (relation: string, type: string): Tuple[] =>
    [...tuples.after('')]
      .filter((tuple) => tuple.relation === relation && tuple.object.type === type)
      .map((tuple) => ({
        user: `${tuple.user.name}${tuple.userRelation === '' ? '' : `#${tuple.userRelation}`}`,
        relation,
        object: tuple.object.name as FgaObject,
      }))
  const writing = (...writes: Tuple[]) => ({ writes, deletes: [] as Tuple[] })
  const deleting = (tuple: Tuple) => ({ writes: [] as Tuple[], deletes: [tuple] })

  /** A busy server may fail on one: it is asked again. */
  async function asked(checks: readonly Check[]): Promise<boolean[]> {
    for (let left = 6; ; left -= 1) {
      const { verdicts } = await fga.batchCheck(checks, { now: Date.now() })
      if (!verdicts.includes('error')) return verdicts.map((verdict) => verdict === 'allowed')
      if (left === 0)
        throw new Error(`the server does not answer ${JSON.stringify(checks[verdicts.indexOf('error')])}`)
    }
  }

  return {
    tuples,
    delegations,
    model: compileModel(json),
    /** Somebody comes or goes, something is shared, blocked, marked, moved, lent or taken back. */
    draw: (): { writes: Tuple[]; deletes: Tuple[] } =>
      one<() => { writes: Tuple[]; deletes: Tuple[] }>([
        () => deleting(one(stored('member', 'group'))),
        () =>
          writing({
            user: one([...people, ...data.people.map((id) => `user:${id}`)]),
            relation: 'member',
            object: one(groups) as FgaObject,
          }),
        () => deleting(one(stored('viewer', 'folder'))),
        () => deleting(one(stored('viewer', 'document'))),
        () => writing({ user: one(people), relation: 'viewer', object: one(folders) }),
        () =>
          writing({
            user: `${one(groups)}#member`,
            relation: 'viewer',
            object: one([...folders, ...documents]),
          }),
        () =>
          writing({
            user: one([...people, `${one(groups)}#member`]),
            relation: 'blocked',
            object: one(documents),
          }),
        () => writing({ user: 'user:*', relation: 'sensitive', object: one([...folders, ...documents]) }),
        () => {
          const moved = one(stored('parent', 'document'))
          return { deletes: [moved], writes: [{ ...moved, user: one(folders) }] }
        },
        () =>
          writing({
            user: `delegation:${one(delegations).id}`,
            relation: 'delegated_to',
            object: one([...folders, ...repos.map((repo): FgaObject => `collection:${repo}`)]),
          }),
        () => deleting(one(stored('delegated_to', 'collection'))),
      ])(),
    /** Some of what was said to change; others that share its people or its documents, and any others. */
    questionsFor(drawing: Random, said: readonly string[]): string[] {
      const askers = [...people.map(ownAsker), ...delegations.flatMap(delegatedAskers)]
      const near = drawing.pick(said, others).map((question) => question.split(' '))
      const beside = Array.from({ length: others }, (_, nth) => {
        const [relation = '', user = '', delegation = '', document = ''] =
          near[nth % Math.max(1, near.length)] ?? []
        const asker = one(askers)
        const any = one(documents).slice('document:'.length)
        const theirs = `${asker.relation} ${asker.user} ${asker.delegation ?? ''}`
        if (nth % 3 === 0 && document !== '') return `${theirs} ${document}`
        return nth % 3 === 1 && user !== '' ? `${relation} ${user} ${delegation} ${any}` : `${theirs} ${any}`
      })
      return [...new Set([...drawing.pick(said, predictedMax), ...beside])]
    },
    async ask(questions: readonly string[]): Promise<boolean[]> {
      const checks = questions.map((question): Check => {
        const [relation = '', user = '', delegation = '', document = ''] = question.split(' ')
        const [asker] =
          delegation === ''
            ? []
            : delegatedAskers({ id: delegation, subject: user as FgaObject, agents: ['bot'] })
        return {
          user,
          relation,
          object: documentObject(document),
          ...(asker && { contextual: asker.contextual }),
        }
      })
      const answers: boolean[] = []
      for (let start = 0; start < checks.length; start += batch)
        answers.push(...(await asked(checks.slice(start, start + batch))))
      return answers
    },
    async apply({ writes, deletes }: { writes: Tuple[]; deletes: Tuple[] }): Promise<void> {
      await fga.write({ writes, deletes })
      for (const tuple of deletes) tuples.remove(tuple)
      for (const tuple of writes) add(tuple)
    },
    async [Symbol.asyncDispose]() {
      await api.deleteStore(store)
    },
  }
}
