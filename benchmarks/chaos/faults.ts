import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { OwnOpenFga } from '../../test/support/openfga-server.ts'
import type { Pair } from '../../test/support/pair.ts'
import type { OwnPostgres } from '../../test/support/postgres.ts'
import type { PutClock } from '../../test/support/put-clock.ts'
import type { Link, Links, Toxic } from './links.ts'

/** Two processes of the service, what they need, and the links between. */
export interface World {
  readonly pair: Pair
  readonly postgres: OwnPostgres
  readonly openfga: OwnOpenFga
  readonly links: Links
  /** Of a search engine none, where Postgres finds passages. */
  readonly between: Readonly<Record<Where, readonly Link[]>>
  /** Of each process. */
  readonly clocks: readonly [PutClock, PutClock]
}

/** Between which two. */
const wheres = [
  'Postgres and one process',
  'Postgres and both',
  'OpenFGA and one process',
  'OpenFGA and both',
  'Postgres and OpenFGA',
  'the embedding endpoint and both',
  'the identity providers and both',
  'OpenSearch and one process',
  'OpenSearch and both',
] as const
export type Where = (typeof wheres)[number]

export interface Fault {
  readonly name: string
  /** What else refuses while it lasts: a token is not good by a clock that is wrong. */
  readonly refusals?: readonly number[]
  /** Only where a search engine finds passages. */
  readonly isOfEngine?: boolean
  /** Begins it; what comes back ends it. */
  begin(world: World): Promise<() => Promise<void>>
}

/** `bytes`: of an answer and of a question, after which the link is cut. */
const toxicsOf = (bytes: {
  readonly answer: number
  readonly question: number
}): Readonly<Record<string, readonly Toxic[]>> => ({
  'is slow (0.4 to 1.2 s)': [
    { type: 'latency', stream: 'downstream', attributes: { latency: 800, jitter: 400 } },
  ],
  'is narrow (4 kB/s)': [{ type: 'bandwidth', stream: 'downstream', attributes: { rate: 4 } }],
  'comes in crumbs': [
    {
      type: 'slicer',
      stream: 'downstream',
      attributes: { average_size: 64, size_variation: 32, delay: 2_000 },
    },
  ],
  'hears nothing (half-open)': [{ type: 'timeout', stream: 'downstream', attributes: { timeout: 0 } }],
  'is not heard (half-open)': [{ type: 'timeout', stream: 'upstream', attributes: { timeout: 0 } }],
  'is silent both ways': [
    { type: 'timeout', stream: 'downstream', attributes: { timeout: 0 } },
    { type: 'timeout', stream: 'upstream', attributes: { timeout: 0 } },
  ],
  'is reset': [{ type: 'reset_peer', stream: 'downstream', attributes: { timeout: 150 } }],
  'is cut within an answer': [
    { type: 'limit_data', stream: 'downstream', attributes: { bytes: bytes.answer } },
  ],
  'is cut within a question': [
    { type: 'limit_data', stream: 'upstream', attributes: { bytes: bytes.question } },
  ],
  'closes slowly': [{ type: 'slow_close', stream: 'downstream', attributes: { delay: 3_000 } }],
})
// Of a provider's three answers the one with its keys ends later, and of its questions the first.
const small = { answer: 300, question: 215 }
const usual = { answer: 3_000, question: 3_000 }

const ofLink = (where: Where): Pick<Fault, 'isOfEngine' | 'refusals'> => ({
  isOfEngine: where.startsWith('OpenSearch'),
  // OpenFGA answers, and has no verdict on one document: not found, as what is not there (`DocumentReader`).
  ...(where === 'Postgres and OpenFGA' && { refusals: [404, 503] }),
})

const ofLinks = wheres.flatMap((where): Fault[] => [
  ...Object.entries(toxicsOf(where === 'the identity providers and both' ? small : usual)).map(
    ([what, list]): Fault => ({
      name: `the link of ${where} ${what}`,
      ...ofLink(where),
      async begin({ links, between }) {
        for (const link of between[where]) for (const toxic of list) await link.add(toxic)
        return () => links.heal()
      },
    }),
  ),
  {
    name: `the link of ${where} is refused`,
    ...ofLink(where),
    async begin({ links, between }) {
      for (const link of between[where]) await link.enable(false)
      return () => links.heal()
    },
  },
  {
    name: `the link of ${where} comes and goes`,
    ...ofLink(where),
    async begin({ links, between }) {
      const ended = new AbortController()
      const flapping = (async () => {
        for (let isUp = false; !ended.signal.aborted; isUp = !isUp) {
          for (const link of between[where]) await link.enable(isUp)
          await sleep(300)
        }
      })()
      return async () => {
        ended.abort()
        await flapping
        await links.heal()
      }
    },
  },
])

const [first, second] = [0, 1] as const

/** By SIGKILL; they are started again at once, as an orchestrator does. */
const killed = (name: string, which: readonly (0 | 1)[]): Fault => ({
  name: `${name} killed`,
  async begin({ pair }) {
    // Whoever watches over them starts them again.
    for (const one of which) pair.process(one).kill('SIGKILL')
    return async () => undefined
  },
})

const frozen = (name: string, which: readonly (0 | 1)[]): Fault => ({
  name: `${name} frozen`,
  async begin({ pair }) {
    for (const one of which) pair.process(one).kill('SIGSTOP')
    return async () => {
      for (const one of which) pair.process(one).kill('SIGCONT')
    }
  },
})

const wrongClock = (name: string, which: readonly (0 | 1)[], ms: number): Fault => ({
  name: `the clock of ${name} ${Math.abs(ms) / 1_000} s ${ms > 0 ? 'fast' : 'slow'}`,
  // 400 of the token endpoint: a subject token that is not good (RFC 8693 §2.2.2).
  refusals: [400, 401, 503],
  async begin({ clocks }) {
    for (const one of which) await clocks[one].put(ms)
    return async () => {
      for (const one of which) await clocks[one].put(0)
    }
  },
})

const both = [first, second]

const ofProcesses: readonly Fault[] = [
  killed('one process', [first]),
  killed('the other process', [second]),
  killed('both processes', both),
  frozen('one process', [first]),
  frozen('the other process', [second]),
  frozen('both processes', both),
  {
    name: 'one process runs a tenth of the time',
    async begin({ pair }) {
      const ended = new AbortController()
      const stuttering = (async () => {
        while (!ended.signal.aborted) {
          pair.process(first).kill('SIGSTOP')
          await sleep(180)
          pair.process(first).kill('SIGCONT')
          await sleep(20)
        }
      })()
      return async () => {
        ended.abort()
        await stuttering
      }
    },
  },
  {
    name: 'one process may open no more files or connections',
    async begin({ pair }) {
      const { pid } = pair.process(first)
      const prlimit = (...args: string[]) =>
        execFileSync('prlimit', ['--pid', String(pid), ...args], { encoding: 'utf8' }).trim()
      const before = prlimit('--nofile', '--output', 'SOFT', '--noheadings')
      prlimit('--nofile=16:')
      return async () => {
        // Where it ended, the one in its place has a limit of its own.
        if (pair.process(first).pid === pid) prlimit(`--nofile=${before}:`)
      }
    },
  },
  ...[120_000, -120_000, 3_600_000, -3_600_000].flatMap((ms) => [
    wrongClock('one process', [first], ms),
    wrongClock('both processes', both, ms),
  ]),
  {
    name: 'OpenFGA killed',
    async begin({ openfga }) {
      openfga.signal('SIGKILL')
      return () => openfga.startAgain()
    },
  },
  {
    name: 'OpenFGA frozen',
    async begin({ openfga }) {
      openfga.signal('SIGSTOP')
      return async () => openfga.signal('SIGCONT')
    },
  },
  {
    name: 'Postgres killed, with all of its processes',
    async begin({ postgres }) {
      postgres.signal('SIGKILL')
      return () => postgres.startAgain()
    },
  },
  {
    name: 'Postgres frozen',
    async begin({ postgres }) {
      postgres.signal('SIGSTOP')
      return async () => postgres.signal('SIGCONT')
    },
  },
]

const within = async (postgres: OwnPostgres, text: string, values?: unknown[]): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: postgres.url })
  client.on('error', () => undefined)
  await client.connect()
  await client.query(text, values)
  return client
}

const ofPostgres: readonly Fault[] = [
  {
    name: 'one session of Postgres killed, so that all of them end',
    async begin({ postgres }) {
      const client = await within(postgres, 'select 1')
      const { rows } = await client.query<{ pid: number }>(
        `select pid from pg_stat_activity where datname like 'remit_test_%' limit 1`,
      )
      for (const { pid } of rows) process.kill(pid, 'SIGKILL')
      await client.end().catch(() => undefined)
      return async () => undefined
    },
  },
  {
    name: 'all sessions ended, again and again',
    async begin({ postgres }) {
      const client = await within(postgres, 'select 1')
      const ended = new AbortController()
      const ending = (async () => {
        while (!ended.signal.aborted) {
          await client.query(
            `select pg_terminate_backend(pid) from pg_stat_activity where datname like 'remit_test_%'`,
          )
          await sleep(250)
        }
      })()
      return async () => {
        ended.abort()
        await ending
        await client.end()
      }
    },
  },
  {
    name: 'all of its connections taken by others',
    async begin({ postgres }) {
      const clients: pg.Client[] = []
      const ended = new AbortController()
      const taking = (async () => {
        while (!ended.signal.aborted) {
          try {
            clients.push(await within(postgres, 'select 1'))
          } catch {
            await sleep(50)
          }
        }
      })()
      // Whoever holds one keeps it; a session that ends by itself is taken.
      const client = await within(postgres, 'select 1').catch(() => undefined)
      await client?.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname like 'remit_test_%'`,
      )
      await client?.end()
      return async () => {
        ended.abort()
        await taking
        for (const one of clients) await one.end()
      }
    },
  },
  ...['documents', 'chunks', 'delegations', 'decision_records', 'revocations', 'desired_tuples'].map(
    (table): Fault => ({
      name: `the table ${table} locked by somebody`,
      async begin({ pair }) {
        const client = new pg.Client({ connectionString: pair.databaseUrl })
        client.on('error', () => undefined)
        await client.connect()
        await client.query('begin')
        await client.query(`lock table ${table} in access exclusive mode`)
        return async () => {
          await client.query('rollback').catch(() => undefined)
          await client.end()
        }
      },
    }),
  ),
]

/** Two at a time. */
const together = (name: string, ...of: readonly Fault[]): Fault => ({
  name,
  refusals: [...new Set(of.flatMap(({ refusals = [503] }) => refusals))],
  isOfEngine: of.some((one) => one.isOfEngine),
  async begin(world) {
    await using stack = new AsyncDisposableStack()
    for (const one of of) stack.defer(await one.begin(world))
    const begun = stack.move()
    return () => begun.disposeAsync()
  },
})

const named = (name: string): Fault => {
  const found = [...ofLinks, ...ofProcesses, ...ofPostgres].find((one) => one.name === name)
  if (found === undefined) throw new Error(`There is no fault “${name}”.`)
  return found
}

const ofTwo: readonly Fault[] = [
  together(
    'one process killed while OpenFGA hears nothing',
    named('the link of OpenFGA and both hears nothing (half-open)'),
    named('one process killed'),
  ),
  together(
    'one process frozen while Postgres is killed',
    named('one process frozen'),
    named('Postgres killed, with all of its processes'),
  ),
  together(
    'OpenFGA killed while Postgres is slow',
    named('the link of Postgres and both is slow (0.4 to 1.2 s)'),
    named('OpenFGA killed'),
  ),
  together(
    'both processes killed while the identity providers are silent',
    named('the link of the identity providers and both is silent both ways'),
    named('both processes killed'),
  ),
  together(
    'the clock of both processes 120 s fast while the identity providers are refused',
    named('the link of the identity providers and both is refused'),
    named('the clock of both processes 120 s fast'),
  ),
  together(
    'one process killed while OpenSearch is refused',
    named('the link of OpenSearch and both is refused'),
    named('one process killed'),
  ),
]

export const faults: readonly Fault[] = [...ofLinks, ...ofProcesses, ...ofPostgres, ...ofTwo]
