import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { missesOf, tableOf } from '../../benchmarks/kubernetes/report.ts'
import { runKubernetes } from '../../benchmarks/kubernetes/run.ts'
import { administer } from '../support/administer.ts'
import { backends } from '../support/backends.ts'
import { native, needsModel, needsShared } from '../support/native.ts'

const needed = native.shared === undefined ? needsShared : needsModel

// The two pairs that people run; the mixed ones answer the same questions elsewhere, on smaller worlds.
const pairs = backends.filter(({ database, openfga }) => (database === 'postgres') === (openfga === 'server'))

/** Of the 2,456 documents. The model's vectors take most of the time: `npm run full` takes a tenth. */
const share = Number(process.env['KUBERNETES_SHARE'] ?? 0.003)
/** Of each person; `npm run full` asks 25. */
const queriesEach = Number(process.env['KUBERNETES_QUESTIONS'] ?? 5)

// The second backend need not wait for the model again.
const vectors = new Map<string, Float32Array>()

describe.each(pairs)('the Kubernetes documents on $name', ({ database, openfga, options }) => {
  test('release nothing to 40 of their people that the data set does not let them see, and find what an exact search finds', {
    ...needed,
    ...options,
    timeout: 1_800_000,
  }, async () => {
    await using temporary = await openTemporary(database)
    const report = await runKubernetes({
      databaseUrl: temporary.url,
      openfga: openfga === 'server' ? native.openfga : undefined,
      modelFolder: native.modelFolder,
      vectors,
      data: join(native.shared ?? '', 'data/kubernetes'),
      share,
      seed: 1,
      people: 40,
      queriesEach,
      say: () => undefined,
    })
    console.log(tableOf(report))
    expect(report.documents).toBe(Math.ceil(2_456 * share))
    expect(report.verified).toBe(1_879)
    expect(report.asked.asAgent).toBeGreaterThan(queriesEach)
    expect(missesOf(report)).toEqual([])
  })
})

interface Temporary extends AsyncDisposable {
  readonly url: string | undefined
}

/** A database of its own on native Postgres; PGlite makes its own. */
async function openTemporary(kind: 'pglite' | 'postgres'): Promise<Temporary> {
  if (kind === 'pglite' || native.databaseUrl === undefined)
    return { url: undefined, [Symbol.asyncDispose]: async () => undefined }
  const admin = native.databaseUrl
  const name = `remit_bench_${randomBytes(6).toString('hex')}`
  await administer(admin, `create database ${name}`)
  const url = new URL(admin)
  url.pathname = `/${name}`
  return {
    url: url.href,
    [Symbol.asyncDispose]: () => administer(admin, `drop database if exists ${name} with (force)`),
  }
}
