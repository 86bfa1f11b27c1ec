import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import { createPermissionIndex, type FollowingIndex } from '../../src/authz/index/create.ts'
import { holdsShare, type Share } from '../../src/authz/index/share.ts'
import { createStorage } from '../../src/authz/index/storage.ts'
import type { Listening } from '../../src/kernel/listening.ts'
import { createLocalSights, type Sights } from '../../src/retrieval/access-filter/sights.ts'
import { createSnapshots } from '../../src/retrieval/access-filter/snapshots.ts'
import { type Corpus, createCorpus } from '../../src/retrieval/corpus/corpus.ts'
import { type Answerer, createAnswerer } from '../../src/retrieval/nominators/answer.ts'
import type { NominatorAnswer, NominatorQuestion } from '../../src/retrieval/nominators/protocol.ts'
import { type Credentials, serveNominator } from '../../src/retrieval/nominators/serve.ts'
import { createAuthority } from '../support/certificate.ts'
import { freePort } from '../support/port.ts'
import { openWorld, type World } from '../support/world.ts'

export const authority = createAuthority()

/** Credentials of loopback with these roles, signed by the authority that both sides trust. */
export const credentialsOf = (...roles: readonly string[]): Credentials => ({
  ...authority.issue({ addresses: ['127.0.0.1'], uris: roles.map((role) => `urn:remit:role:${role}`) }),
  ca: authority.cert,
})

/** One nominator: what it really holds, and what a test lets it say. */
export interface TestNominator extends AsyncDisposable {
  readonly index: FollowingIndex
  readonly corpus: Corpus
  readonly sights: Sights
  readonly url: string
  /** What it was asked, and what it said. */
  readonly said: { readonly question: NominatorQuestion; readonly answer: NominatorAnswer | string }[]
  /** From now on each answer goes through this. */
  lie(by: ((answer: NominatorAnswer, question: NominatorQuestion) => NominatorAnswer) | undefined): void
  /** In place of every answer. */
  instead(answer: Answerer | undefined): void
  kill(): Promise<void>
  revive(credentials?: Credentials): Promise<void>
}

/** An API process, and nominators of the same database and OpenFGA: for each share two. */
export interface Deployment extends AsyncDisposable {
  readonly world: World
  /** By share, then replica. */
  readonly nominators: readonly (readonly TestNominator[])[]
  readonly all: readonly TestNominator[]
  /** Checks that reached OpenFGA: the consistency of each call, and its objects. */
  readonly checks: { readonly consistency: string | undefined; readonly objects: readonly string[] }[]
  /** Every nominator holds what OpenFGA and the database hold. */
  settle(): Promise<void>
}

export interface DeploymentOptions {
  readonly shares?: number
  readonly replicas?: number
  readonly env?: Readonly<Record<string, string>>
}

export async function openDeployment(options: DeploymentOptions = {}): Promise<Deployment> {
  const { shares = 2, replicas = 2 } = options
  const folder = await mkdtemp(join(tmpdir(), 'remit-nominators-'))
  const files = await writeFiles(folder, credentialsOf('api'))
  const ports = await Promise.all(
    Array.from({ length: shares }, () => Promise.all(Array.from({ length: replicas }, freePort))),
  )
  let openfga: FgaApi | undefined
  const checks: { consistency: string | undefined; objects: string[] }[] = []
  const world = await openWorld({
    embedder: null,
    env: {
      // What the world is given counts: these only say that it is no process of its own.
      DATABASE_URL: 'postgres://127.0.0.1:1/none',
      OPENFGA_API_URL: 'http://127.0.0.1:1',
      OPENFGA_SECONDARY: 'none',
      TRUSTED_ISSUERS: '[]',
      REMIT_DEMO: 'false',
      // Of which a third is no whole number.
      REQUEST_DEADLINE_MS: '50000',
      NOMINATOR_URLS: ports
        .map((ofShare) => ofShare.map((port) => `https://127.0.0.1:${port}`).join(','))
        .join(';'),
      ...files,
      ...options.env,
    },
    openfga(api) {
      openfga = api
      return Object.assign(Object.create(api), {
        batchCheck(...[store, body, given]: Parameters<FgaApi['batchCheck']>) {
          checks.push({
            consistency: body.consistency,
            objects: body.checks.map(({ tuple_key: { object } }) => object),
          })
          return api.batchCheck(store, body, given)
        },
      })
    },
  })
  if (openfga === undefined) throw new Error('the world has no OpenFGA')
  const nominators: TestNominator[][] = []
  for (const [at, ofShare] of ports.entries()) {
    const share = { number: at + 1, of: shares }
    nominators.push(await Promise.all(ofShare.map((port) => openNominator(world, { share, port }))))
  }
  const all = nominators.flat()
  return {
    world,
    nominators,
    all,
    checks,
    async settle() {
      for (const { index, corpus } of all) await Promise.all([index.catchUp(), corpus.refresh()])
    },
    async [Symbol.asyncDispose]() {
      for (const one of all) await one[Symbol.asyncDispose]()
      await world[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Settings that name these as files. */
export async function writeFiles(folder: string, credentials: Credentials): Promise<Record<string, string>> {
  const named = { CERT: credentials.cert, KEY: credentials.key, CA: credentials.ca }
  const entries = Object.entries(named).map(async ([name, text]) => {
    const path = join(folder, `${name}.pem`)
    await writeFile(path, text)
    return [`NOMINATOR_TLS_${name}`, path] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

export async function openNominator(
  { service, database }: World,
  { share, port }: { readonly share: Share; readonly port: number },
): Promise<TestNominator> {
  const { fga, activeModel } = service
  const log = () => undefined
  const index = createPermissionIndex({
    fga,
    storage: createStorage(database, fga.storeId),
    now: Date.now,
    log,
    pollMs: 50,
    // Beside much else on this machine.
    staleAfterMs: 60_000,
    ...(share.of > 1 && { part: holdsShare(share) }),
  })
  index.useModel(activeModel.current.id, activeModel.current.json)
  const corpus = createCorpus({ database, log, pollMs: 50, staleAfterMs: 60_000 })
  const snapshots = createSnapshots({ index, corpus })
  const honest = createAnswerer({
    index,
    corpus,
    snapshots,
    share,
    modelId: () => fga.modelId,
    now: Date.now,
  })
  const said: { question: NominatorQuestion; answer: NominatorAnswer | string }[] = []
  let lie: Parameters<TestNominator['lie']>[0]
  let other: Answerer | undefined
  const answer: Answerer = async (question, signal) => {
    const real = await (other ?? honest)(question, signal)
    const told = lie === undefined || typeof real === 'string' ? real : lie(real, question)
    said.push({ question, answer: told })
    return told
  }
  const listen = (credentials: Credentials) =>
    serveNominator({ answer, credentials, host: '127.0.0.1', port, log, drainMs: 0 })
  let server: Listening | undefined = await listen(credentialsOf('nominator'))
  const kill = async () => {
    await server?.[Symbol.asyncDispose]()
    server = undefined
  }
  return {
    index,
    corpus,
    sights: createLocalSights({ snapshots, hasTail: () => true }),
    url: `https://127.0.0.1:${port}`,
    said,
    lie(by) {
      lie = by
    },
    instead(by) {
      other = by
    },
    kill,
    async revive(credentials = credentialsOf('nominator')) {
      await kill()
      server = await listen(credentials)
    },
    async [Symbol.asyncDispose]() {
      await kill()
      await corpus[Symbol.asyncDispose]()
      await index[Symbol.asyncDispose]()
    },
  }
}
