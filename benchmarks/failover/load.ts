import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentToken, Pair } from '../../test/support/pair.ts'
import { ask, wait } from '../approvals/asking.ts'
import { again, agentsCount, documentId, type Target, targetOn } from '../approvals/target.ts'
import { type Answer, Attempts } from './attempts.ts'

/** What was acknowledged, and so has to be there whatever happens to the database. */
export interface Acknowledged {
  readonly published: Set<string>
  readonly withdrawn: Set<string>
  /** Documents that their reader may not read any more. */
  readonly unshared: Set<string>
  /** Tokens whose delegation their person took back. */
  readonly revoked: Set<string>
  readonly usedGrants: Set<string>
  readonly spentCodes: Set<string>
  /** `txn` of each answer with passages or text. */
  readonly records: Set<string>
}

/** Requests of a kind more, beside the others. */
export interface More {
  /** Who may read the document that is always there. */
  readonly viewers: readonly string[]
  /** Before the load starts. */
  stock(): Promise<void>
  /** While a fault lasts: what only shows if it comes then. */
  change(): Promise<void>
  step(): Promise<unknown>
  /** Looks at both processes at what was acknowledged; `all`: since ever. */
  compare(what?: 'all'): Promise<void>
  /** What a process cannot do yet. */
  probe(url: string): Promise<readonly string[]>
}

/** What such requests are made and noted with. */
export interface Tools extends Pick<Load, 'attempts' | 'acknowledged'> {
  readonly pair: Pair
  /** Path and id of the document that is always there. */
  readonly anchor: { readonly id: string; readonly path: string }
  /** By turns. */
  anyUrl(): string
  /** Notes what came back. */
  sayBack(what: string): void
}

/** Requests of eight kinds and {@link More}, one after the other each, by turns to both processes. */
export interface Load {
  readonly attempts: Attempts
  readonly acknowledged: Acknowledged
  /** What came back, by what it was: while the load ran, or when {@link Load.compare} looked. */
  readonly back: Map<string, number>
  /** How many the searches were given. */
  passages(): number
  start(): void
  stop(): Promise<void>
  /** Looks at both processes at what was acknowledged since it looked last; `all`: at everything. */
  compare(what?: 'all'): Promise<void>
  /** What a process cannot do yet: take in a document, give it, find it and another one, spend a code. */
  probe(url: string): Promise<readonly string[]>
  /** Makes more to take away and to use. */
  stock(): Promise<void>
  /** To be called while a fault lasts. */
  change(): Promise<void>
}

const agent = 'bench-bot-0'
// What there is to take away has to last.
const pauseMs = 500
// A `fast` answer may repeat its own yes for as long: OPENFGA_CACHE_TTL.
const fastMs = 10_000
// For what was accepted to be taken in.
const patienceMs = 90_000
const anchor = 'bench/anchor'

export async function openLoad(
  pair: Pair,
  {
    stockSize = 40,
    grantsOfAgent = 5,
    more: makeMore = [],
  }: {
    /** Of each kind of what is taken away. */
    readonly stockSize?: number
    /** An agent is made ten offers an hour. */
    readonly grantsOfAgent?: number
    readonly more?: readonly ((tools: Tools) => More)[]
  } = {},
): Promise<Load> {
  const target: Omit<Target, typeof Symbol.asyncDispose> = await targetOn(pair)
  const attempts = new Attempts()
  const acknowledged: Acknowledged = {
    published: new Set(),
    withdrawn: new Set(),
    unshared: new Set(),
    revoked: new Set(),
    usedGrants: new Set(),
    spentCodes: new Set(),
    records: new Set(),
  }
  const back = new Map<string, number>()
  /** Since when a document is nothing to anne, by the clock that never jumps. */
  const goneAt = new Map<string, number>()
  const sayBack = (what: string): void => void back.set(what, (back.get(what) ?? 0) + 1)
  // Of these nobody knows: the request that would take it away, or use it, was sent and not acknowledged.
  const touched = new Set<string>()
  const toWithdraw: string[] = []
  const toUnshare: string[] = []
  const toRevoke: AgentToken[] = []
  const toUse: { readonly grant: string; readonly agent: string }[] = []
  let turn = 0
  const anyUrl = (): string => {
    turn += 1
    return pair.urls[turn % 2] as string
  }
  const more = makeMore.map((make) =>
    make({
      pair,
      attempts,
      acknowledged,
      anyUrl,
      sayBack,
      anchor: { id: anchor, path: `/documents/${encodeURIComponent(anchor)}` },
    }),
  )
  let number = 0
  let searches = 0
  let passages = 0
  const nextId = (): string => {
    number += 1
    return `bench/load-${number}`
  }
  let isStopping = false
  let running: Promise<unknown> = Promise.resolve()

  let loader: Readonly<Record<string, string>> = {}
  const reader = async () => ({ authorization: `Bearer ${await target.agentToken(agent)}` })
  const at = (url: string, id: string): string => `${url}/documents/${encodeURIComponent(id)}`

  async function publish(id: string, url = anyUrl()): Promise<boolean> {
    const isAnchor = id === anchor
    const answer = await attempts.make('publish', at(url, id), {
      method: 'PUT',
      headers: { ...loader, prefer: 'wait=10' },
      body: JSON.stringify({
        id,
        collection: 'bench',
        title: id,
        text: isAnchor ? 'The anchor of the harbour.' : `All about ${id}.`,
        mime_type: 'text/plain',
        access: {
          viewers: ['user:anne', 'user:bob', ...(isAnchor ? more.flatMap(({ viewers }) => viewers) : [])],
        },
      }),
    })
    if (answer !== undefined) acknowledged.published.add(id)
    return answer?.status === 200
  }

  /** Reads one, and gives whether it was there; undefined: refused. */
  async function isThere(url: string, id: string): Promise<boolean | undefined> {
    const answer = await attempts.make(
      'read',
      at(url, id),
      { headers: await reader() },
      ({ status }) => status === 200 || status === 404,
    )
    if (answer === undefined) return undefined
    if (answer.status === 200) acknowledged.records.add((JSON.parse(answer.body) as { txn: string }).txn)
    return answer.status === 200
  }

  /** An agent may not ask for jobs: 403 `forbidden` says that the token was good. */
  const isGood = async (url: string, token: string): Promise<boolean | undefined> => {
    const answer = await attempts.make(
      'token',
      `${url}/jobs/none`,
      { headers: { authorization: `Bearer ${token}` } },
      ({ status }) => status === 403 || status === 401,
    )
    return answer && (JSON.parse(answer.body) as { code: string }).code === 'forbidden'
  }

  async function useGrant(url: string, used: (typeof toUse)[number]): Promise<number | undefined> {
    const answer = await attempts.make('grant', `${url}/retrieve`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await target.agentToken(used.agent)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ query: 'plan of the board', mode: 'keyword', approval: used.grant }),
    })
    if (answer === undefined) return undefined
    const { results, txn } = JSON.parse(answer.body) as {
      readonly results: readonly { readonly document_id: string }[]
      readonly txn: string
    }
    if (results.length > 0) acknowledged.records.add(txn)
    return results.filter((one) => one.document_id === documentId).length
  }

  /** Whether the assertion, which is good once, was taken; undefined: refused. */
  async function spend(url: string, code: string): Promise<boolean | undefined> {
    const answer = await attempts.make(
      'code',
      `${url}/oauth/token`,
      { method: 'POST', body: await pair.exchangeForm(code) },
      ({ status }) => status === 200 || status === 401,
    )
    return answer && answer.status === 200
  }

  const randomOf = <T>(of: ReadonlySet<T>): T | undefined => [...of][Math.floor(Math.random() * of.size)]

  async function withdraw(): Promise<void> {
    const id = toWithdraw[0]
    if (id === undefined) return
    touched.add(id)
    const init = { method: 'DELETE', headers: loader }
    const isGone = ({ status }: Answer): boolean => status < 300 || status === 404
    if ((await attempts.make('withdraw', at(anyUrl(), id), init, isGone)) === undefined) return
    acknowledged.withdrawn.add(id)
    goneAt.set(id, performance.now())
    toWithdraw.shift()
  }

  async function unshare(): Promise<void> {
    const id = toUnshare[0]
    if (id === undefined) return
    touched.add(id)
    const body = JSON.stringify({ viewers: ['user:bob'] })
    const init = { method: 'PUT', headers: loader, body }
    if ((await attempts.make('unshare', `${at(anyUrl(), id)}/access`, init)) === undefined) return
    acknowledged.unshared.add(id)
    goneAt.set(id, performance.now())
    toUnshare.shift()
  }

  async function revoke(): Promise<void> {
    const [lent, next] = toRevoke
    // The last one stays, as what a code is spent for: an agent to whom nothing is lent gets no token.
    if (lent === undefined || next === undefined) return
    const init = { method: 'DELETE', headers: browser }
    // Whose answer was lost may be over already.
    const isOver = ({ status }: Answer): boolean => status < 300 || status === 404
    const address = `${anyUrl()}/delegations/${lent.delegation}`
    if ((await attempts.make('revoke', address, init, isOver)) === undefined) return
    toRevoke.shift()
    // In the other process within a second.
    await sleep(1_000)
    acknowledged.revoked.add(lent.token)
  }

  async function grant(): Promise<void> {
    const next = toUse.shift()
    if (next === undefined) return
    // At both processes at once: one of them may release.
    const released = await Promise.all(pair.urls.map((url) => useGrant(url, next)))
    const sum = released.reduce<number>((all, one) => all + (one ?? 0), 0)
    if (sum > 1) sayBack('a grant for one use, used twice at once')
    // What became of it nobody knows, and there are few.
    if (released.includes(undefined)) await sleep(4 * pauseMs)
    if (sum > 0) acknowledged.usedGrants.add(`${next.grant} ${next.agent}`)
  }

  async function look(): Promise<void> {
    const url = anyUrl()
    const gone = randomOf(acknowledged.withdrawn)
    if (gone !== undefined && (await isThere(url, gone))) sayBack('a withdrawn document')
    const closed = randomOf(acknowledged.unshared)
    if (closed !== undefined && (await isThere(url, closed)))
      sayBack('a document read by somebody who may not')
    const token = randomOf(acknowledged.revoked)
    if (token !== undefined && (await isGood(url, token))) sayBack('a revoked token')
    const there = randomOf(acknowledged.published)
    if (there !== undefined && !touched.has(there)) await isThere(url, there)
  }

  /** Whether the wanted document was found. Default: the one that is always there, or the last. */
  async function search(
    url = anyUrl(),
    wanted = searches % 8 < 4 ? anchor : `bench/load-${number}`,
  ): Promise<boolean> {
    searches += 1
    const isForAnchor = wanted === anchor
    const consistency = searches % 4 < 2 ? 'strict' : 'fast'
    const query = isForAnchor ? 'anchor of the harbour' : `All about ${wanted}`
    const beganAt = performance.now()
    const answer = await attempts.make('search', `${url}/retrieve`, {
      method: 'POST',
      headers: { ...(await reader()), 'content-type': 'application/json' },
      body: JSON.stringify({ query, consistency, top_k: 20 }),
    })
    if (answer === undefined) return false
    const { results, complete, txn } = JSON.parse(answer.body) as {
      readonly results: readonly { readonly document_id: string }[]
      readonly complete: boolean
      readonly txn: string
    }
    if (results.length > 0) acknowledged.records.add(txn)
    for (const { document_id: id } of results) {
      passages += 1
      const since = goneAt.get(id)
      if (since !== undefined && since + (consistency === 'fast' ? fastMs : 0) < beganAt)
        sayBack(`a passage that was taken away (${consistency})`)
    }
    const isFound = results.some(({ document_id }) => document_id === wanted)
    if (!complete) attempts.noteRefused('search: in part')
    if (complete && isForAnchor && !isFound) sayBack('a passage missing from a complete answer')
    return isFound
  }

  /** A process hears of what may be read a moment after it may. */
  async function isFoundSoon(url: string, id: string): Promise<boolean> {
    for (const end = performance.now() + 10_000; !(await search(url, id)); await sleep(200))
      if (performance.now() > end) return false
    return true
  }

  const steps: readonly (() => Promise<unknown>)[] = [
    () => publish(nextId()),
    withdraw,
    unshare,
    revoke,
    grant,
    async () => {
      const code = await pair.assertion()
      if (await spend(anyUrl(), code)) acknowledged.spentCodes.add(code)
    },
    look,
    () => search(),
    ...more.map(({ step }) => step),
  ]
  /** What was accepted and not yet taken in may come later: its job is tried again after a while. */
  async function isLost(url: string, id: string): Promise<boolean> {
    for (const end = performance.now() + patienceMs; (await isThere(url, id)) === false; await sleep(500))
      if (performance.now() > end) return true
    return false
  }

  let compared: ReadonlyMap<string, number> = new Map()
  let browser = await target.browser()

  async function stock(): Promise<void> {
    for (const one of more) await one.stock()
    browser = await target.browser()
    // Of the longest life that there is: nothing here asks the database while that is away.
    loader = {
      authorization: `Bearer ${await pair.serviceToken('loader')}`,
      'content-type': 'application/json',
    }
    while (!acknowledged.published.has(anchor)) await publish(anchor)
    toRevoke.length = 0
    for (let index = 0; index < stockSize; index += 1) toRevoke.push(await pair.agentToken('anne'))
    for (const list of [toWithdraw, toUnshare])
      for (let index = list.length; index < stockSize; index += 4)
        await Promise.all(
          [1, 2, 3, 4].map(async () => {
            const id = nextId()
            if (await publish(id)) list.push(id)
          }),
        )
    // Only once: later ones would be refused, since each use of a grant that is used up counts as an offer.
    if (acknowledged.usedGrants.size > 0) return
    for (let round = 0; round < grantsOfAgent; round += 1)
      await Promise.all(
        Array.from({ length: agentsCount - 1 }, async (_, index) => {
          const asking = `bench-bot-${index + 1}`
          const made = await again(async () => {
            const { id, decide } = await ask(target, asking)
            const [grantId] = await Promise.all([wait(target, asking, id), decide()])
            return grantId
          }, 30)
          toUse.push({ grant: made, agent: asking })
        }),
      )
  }

  return {
    attempts,
    acknowledged,
    back,
    passages: () => passages,
    async probe(url) {
      const id = nextId()
      const lacks: string[] = []
      await Promise.all([
        ...more.map(async ({ probe }) => void lacks.push(...(await probe(url)))),
        publish(id, url).then(async (isIn) => {
          // What was not come to is lacking too.
          const steps = ['take in', 'give', 'find what is new']
          if (!isIn) lacks.push(...steps)
          else if ((await isThere(url, id)) !== true) lacks.push(...steps.slice(1))
          else if (!(await isFoundSoon(url, id))) lacks.push(...steps.slice(2))
        }),
        search(url, anchor).then((isFound) => isFound || lacks.push('find')),
        pair
          .assertion()
          .then((code) => spend(url, code))
          .then((isSpent) => isSpent || lacks.push('spend')),
      ])
      return lacks
    },
    stock,
    async change() {
      for (const one of more) await one.change()
    },
    start() {
      isStopping = false
      running = Promise.all(
        steps.map(async (step) => {
          while (!isStopping) {
            await step()
            await sleep(step === look ? pauseMs / 10 : pauseMs)
          }
        }),
      )
    },
    async stop() {
      isStopping = true
      await running
    },
    async compare(what) {
      const after = what === 'all' ? undefined : compared
      const rest = <T>(kind: keyof Acknowledged, all: ReadonlySet<T>): T[] => [...all].slice(after?.get(kind))
      const since = {
        withdrawn: rest('withdrawn', acknowledged.withdrawn),
        unshared: rest('unshared', acknowledged.unshared),
        revoked: rest('revoked', acknowledged.revoked),
        usedGrants: rest('usedGrants', acknowledged.usedGrants),
        spentCodes: rest('spentCodes', acknowledged.spentCodes),
        published: rest('published', acknowledged.published),
        records: rest('records', acknowledged.records),
      }
      compared = new Map(Object.entries(acknowledged).map(([kind, all]) => [kind, all.size]))
      for (const one of more) await one.compare(what)
      for (const url of pair.urls) {
        for (const id of since.withdrawn) if (await isThere(url, id)) sayBack('a withdrawn document')
        for (const id of since.unshared)
          if (await isThere(url, id)) sayBack('a document read by somebody who may not')
        for (const token of since.revoked) if (await isGood(url, token)) sayBack('a revoked token')
        for (const used of since.usedGrants) {
          const [id = '', by = ''] = used.split(' ')
          if (((await useGrant(url, { grant: id, agent: by })) ?? 0) > 0) sayBack('a used grant')
        }
        for (const code of since.spentCodes) if (await spend(url, code)) sayBack('a spent code')
        for (const id of since.published)
          if (!touched.has(id) && (await isLost(url, id))) sayBack('a lost document')
      }
      const txns = since.records
      const found = await pair.database.query(
        'select distinct txn from decision_records where txn = any($1)',
        [txns],
      )
      if (found.length < txns.length) sayBack(`${txns.length - found.length} lost records`)
    },
  }
}
