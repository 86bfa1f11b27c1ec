import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { transformer } from '@openfga/syntax-transformer'
import { compileModel, createTupleStore, type JsonObject } from '@remit/engine'
import type { Fga, Tuple, TupleKey } from '../../src/authz/fga.ts'
import { createLimiter } from '../../src/authz/gate/limiter.ts'
import { createAskNamed } from '../../src/authz/gate/named.ts'
import { createVerdictCache, type VerdictCache } from '../../src/authz/gate/verdict-cache.ts'
import { createGate, type Gate } from '../../src/authz/gate.ts'
import { decomposeLocally, evaluateLocally } from '../../src/authz/index/local.ts'
import { leadingTo } from '../../src/authz/index/recent-removals.ts'
import type { IndexStatus, PermissionIndex } from '../../src/authz/permission-index.ts'

/** A replica that a test fills by hand: what it holds, how far it read, what was taken away when. */
export interface TestIndex extends PermissionIndex {
  add(...tuples: readonly Tuple[]): void
  remove(...tuples: readonly TupleKey[]): void
  /** Reads the log to its end at this moment. */
  read(): void
  set(status: Partial<IndexStatus>): void
  /** What the log tells when it is next read for an answer; a failure where it throws. */
  tellNext(change: () => void): void
  setModel(id: string): void
}

export const ownDsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')

// Through JSON: the transformer's types do not say that it is plain JSON.
const toJson = (dsl: string) =>
  JSON.parse(JSON.stringify(transformer.transformDSLToJSONObject(dsl))) as JsonObject
export const ownJson = toJson(ownDsl)
const own = compileModel(ownJson)

export function createTestIndex(modelId: string, now: () => number, dsl = ownDsl): TestIndex {
  const model = dsl === ownDsl ? own : compileModel(toJson(dsl))
  const tuples = createTupleStore()
  let id = modelId
  let written = 0
  let removedAt = Number.NEGATIVE_INFINITY
  let tell = () => {}
  const heard: string[] = []
  let status: IndexStatus = { state: 'following', tailReadAt: now(), lagMs: 0, tuples: 0 }
  const isReady = () => status.state !== 'building'
  return {
    status: () => ({ ...status, tuples: tuples.size }),
    view: () => (isReady() ? { modelId: id, model, tuples } : undefined),
    nominate: () => undefined,
    reachableAcls: () => undefined,
    aclOf: () => -1,
    onAclChange: () => undefined,
    touched: (documentIds, since) => new Set(removedAt >= since ? documentIds : []),
    wrote: ({ writes = [], deletes = [] }) => {
      if (deletes.length > 0) removedAt = now()
      return [...writes, ...deletes].map(({ object }) => object)
    },
    holds: () => true,
    leadingTo: (documentIds, objects) => leadingTo(documentIds, objects, tuples),
    catchUp: async () => undefined,
    lookBack: async () => undefined,
    watch: () => {
      const from = heard.length
      return async (documentIds) => {
        try {
          tell()
        } catch {
          return new Set(documentIds)
        } finally {
          tell = () => {}
        }
        return leadingTo(documentIds, new Set(heard.slice(from)), tuples)
      }
    },
    tellNext(change) {
      tell = change
    },
    evaluate: (question, documentIds, at) =>
      isReady() ? evaluateLocally(model, tuples, question, documentIds, at) : undefined,
    decompose: (question, documentIds, at) =>
      isReady() ? decomposeLocally(model, tuples, question, documentIds, at) : new Map(),
    add(...added) {
      for (const tuple of added) {
        heard.push(tuple.object)
        written += 1
        tuples.add(tuple, String(written).padStart(9, '0'))
        if (tuple.relation === 'blocked' || tuple.relation === 'sensitive') removedAt = now()
      }
    },
    remove(...removed) {
      for (const tuple of removed) {
        heard.push(tuple.object)
        tuples.remove(tuple)
      }
      removedAt = now()
    },
    read: () => {
      status = { ...status, tailReadAt: now() }
    },
    set: (next) => {
      status = { ...status, ...next }
    },
    setModel: (next) => {
      id = next
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

export interface GateParts {
  readonly fga: Fga
  readonly now: () => number
  /** Left out: a replica that is not ready, so that everything is asked. */
  readonly index?: PermissionIndex
  readonly ttlMs?: number
  readonly held?: VerdictCache
  readonly checksMax?: number
  /** false: OpenFGA's caches may never answer. */
  readonly cached?: boolean
}

/** A gate as the service composes it. */
export function gateOf(parts: GateParts): Gate {
  const { fga, now, index, ttlMs = 5_000, held, checksMax = 200, cached = true } = parts
  const unready = createTestIndex(fga.modelId, now)
  unready.set({ state: 'building', tailReadAt: undefined })
  const shared = {
    fga,
    now,
    index: index ?? unready,
    verdictCache: held ?? createVerdictCache({ now, elapsed: now, ttlMs }),
    limiter: createLimiter(checksMax),
  }
  return createGate({
    ...shared,
    askNamed: createAskNamed({ ...shared, randomBytes }),
    cacheTtlMs: cached ? 10_000 : undefined,
  })
}
