import { setTimeout as sleep } from 'node:timers/promises'
import { startTestIssuer, type TestIssuer } from '../../test/support/issuer.ts'
import type { More, Tools } from '../failover/load.ts'
import type { Link, Links } from './links.ts'

/** Identity providers of others, each behind a link, and their people. */
export interface Providers extends AsyncDisposable {
  readonly links: readonly Link[]
  /** TRUSTED_ISSUERS */
  readonly setting: string
  /** Requests of people with their tokens. One provider at a time changes its key, and each in its turn. */
  people(tools: Tools): More
}

/** A provider's token under one of its keys, of which the last one alone is published. */
interface Signed {
  readonly token: string
  /** By address of a process: since when it is known to have had this key. */
  readonly takenAt: Map<string, number>
  goneAt: number
}

interface Provider {
  readonly issuer: TestIssuer
  readonly link: Link
  readonly signed: Signed[]
  /** When it was asked for anything last. */
  askedAt: number
}

// A process asks for a key that it does not know at most every 30 s (docs/issuers.md), and hears of it later.
const restMs = 36_000
// Without any answer of the provider a process goes by its keys for as long.
const keptMs = 600_000
// While one of them has its turn the others rest.
const count = 4

/** Starts them. */
export async function openProviders(links: Links): Promise<Providers> {
  await using stack = new AsyncDisposableStack()
  const providers: Provider[] = []
  for (let nth = 0; nth < count; nth += 1) {
    let link: Link | undefined
    const issuer = stack.use(
      await startTestIssuer({
        namespace: `idp-${nth}`,
        path: `/realms/${nth}`,
        async through(port) {
          link = await links.open(`provider-${nth}`, port)
          return link.port
        },
        answer() {
          provider.askedAt = performance.now()
          return false
        },
      }),
    )
    if (link === undefined) throw new Error('It has no link.')
    const provider: Provider = { issuer, link, signed: [], askedAt: Number.NEGATIVE_INFINITY }
    await sign(provider)
    providers.push(provider)
  }
  const owned = stack.move()
  return {
    links: providers.map(({ link }) => link),
    setting: JSON.stringify(providers.map(({ issuer }) => issuer.entry())),
    people: (tools) => peopleOf(providers, tools),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function sign({ issuer, signed }: Provider): Promise<void> {
  const token = await issuer.token({ ttl: 7_200 })
  signed.push({ token, takenAt: new Map(), goneAt: Number.POSITIVE_INFINITY })
}

function peopleOf(
  providers: readonly Provider[],
  { attempts, acknowledged, anchor, anyUrl, pair, sayBack }: Tools,
): More {
  let turn = 0
  let searches = 0
  let isChanged = false
  const current = (): Provider => providers[turn % count] as Provider
  const newest = ({ signed }: Provider): Signed => signed.at(-1) as Signed

  /** Whether its person is given the document that is always there. */
  async function isKnown(url: string, provider: Provider): Promise<boolean> {
    const { token, takenAt } = newest(provider)
    const answer = await attempts.make('person', `${url}${anchor.path}`, {
      headers: { authorization: `Bearer ${token}` },
    })
    if (answer === undefined) return false
    acknowledged.records.add((JSON.parse(answer.body) as { txn: string }).txn)
    if (!takenAt.has(url)) takenAt.set(url, performance.now())
    return true
  }

  /** Of all that there is its person may see one document. */
  async function search(url: string, provider: Provider): Promise<void> {
    searches += 1
    const answer = await attempts.make('person’s search', `${url}/retrieve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${newest(provider).token}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        query: searches % 2 === 0 ? 'anchor of the harbour' : 'All about bench load',
        consistency: 'strict',
        top_k: 20,
      }),
    })
    if (answer === undefined) return
    const { results, complete, txn } = JSON.parse(answer.body) as {
      readonly results: readonly { readonly document_id: string }[]
      readonly complete: boolean
      readonly txn: string
    }
    if (results.length > 0) acknowledged.records.add(txn)
    if (results.some(({ document_id }) => document_id !== anchor.id)) sayBack('a passage of somebody else’s')
    if (complete && searches % 2 === 0 && results.length === 0)
      sayBack('a passage missing from a person’s complete answer')
  }

  /** Once a process took a later key, or the time is over, the earlier one must not count there. */
  async function tryGone(url: string, { signed }: Provider, nth: number): Promise<void> {
    const { token, goneAt } = signed[nth] as Signed
    const beganAt = performance.now()
    const answer = await attempts.make(
      'key that is gone',
      `${url}${anchor.path}`,
      { headers: { authorization: `Bearer ${token}` } },
      ({ status }) => status === 200 || status === 401,
    )
    if (answer?.status !== 200) return
    acknowledged.records.add((JSON.parse(answer.body) as { txn: string }).txn)
    const hadLater = signed.slice(nth + 1).some(({ takenAt }) => (takenAt.get(url) ?? beganAt) < beganAt)
    if (hadLater || goneAt + keptMs < beganAt) sayBack('a token whose key is gone')
  }

  return {
    viewers: providers.map((_, nth) => `user:idp-${nth}/anne`),
    async stock() {
      turn += 1
      isChanged = false
      const provider = current()
      for (;;) {
        const rest = provider.askedAt + restMs - performance.now()
        if (rest <= 0) break
        await sleep(rest)
      }
    },
    async change() {
      const provider = current()
      newest(provider).goneAt = performance.now()
      await provider.issuer.rotate()
      await sign(provider)
      isChanged = true
    },
    async step() {
      // A process that asked for keys just before would not ask for the new one.
      if (!isChanged) return
      const url = anyUrl()
      const provider = current()
      await isKnown(url, provider)
      await search(url, provider)
      await tryGone(url, provider, provider.signed.length - 2)
    },
    async compare(what) {
      for (const url of pair.urls)
        for (const provider of what === 'all' ? providers : [current()]) {
          await isKnown(url, provider)
          for (const nth of provider.signed.keys())
            if (nth < provider.signed.length - 1) await tryGone(url, provider, nth)
        }
    },
    probe: async (url) => ((await isKnown(url, current())) ? [] : ['know a person']),
  }
}
