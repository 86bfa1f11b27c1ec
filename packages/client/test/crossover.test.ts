import { setTimeout } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import {
  type Access,
  ciba,
  createRemit,
  createTokenCache,
  deviceFlow,
  errorFromJSON,
  exchange,
  isRemitError,
  type Session,
  type Vault,
  type WrappedTool,
  withApproval,
  withConnection,
  withDeviceFlow,
} from '../src/index.ts'
import { conversations } from '../src/node.ts'
import { broker, createDouble, type Double, issuer, url } from './double/double.ts'

// Two people and two agents in one process, and everything shared that can be: one cache, one of each wrapped
// tool. The other side says whose token it saw. benchmarks/crossover puts the same to a peer.
const people = ['anne', 'bob']
const agents = ['agent-a', 'agent-b'] as const
const calls = 1_000

let double: Double
let sessions: readonly { readonly session: Session; readonly who: string }[]
beforeAll(async () => {
  double = await createDouble()
  double.delayMs = 4
  double.intervalMs = 1
  double.people.asked = (question) => {
    question.outcome = { approve: question.details }
  }
  const cache = createTokenCache()
  sessions = agents.flatMap((agent) => {
    const options = { issuer, ...double.agents[agent], fetch: double.fetch, cache }
    const remit = createRemit({
      url,
      token: exchange(options),
      ciba: ciba(options),
      device: deviceFlow(options),
      fetch: double.fetch,
      sleep: (ms) => setTimeout(Math.min(ms, 2)),
    })
    return people.map((person) => ({
      session: remit.for(double.person(person, agent)),
      who: `${person} ${agent}`,
    }))
  })
})

const call = async (word: string, access: Pick<Access, 'fetch'> | Pick<Vault, 'fetch'>): Promise<string> => {
  const response = await access.fetch(`/${word}`)
  const { for: person, by, path } = (await response.json()) as Readonly<Record<string, string>>
  return `${person} ${by} ${path?.split('/').at(-1)}`
}

const approval = (mode: 'block' | 'poll' | 'interrupt') =>
  withApproval<string, string>(
    {
      audience: broker,
      scopes: ['orders.place'],
      // Half of the calls ask for the very same, so that only the person and the agent tell them apart.
      details: () => [{ type: 'trade_order', symbol: 'ACME' }],
      bindingMessage: () => 'Buy ACME',
      mode,
    },
    call,
  )

/** The person enters the code that they were shown, and nobody else's. */
const enter = (userCode: string, { person }: Session): void => {
  for (const started of double.signIns) if (started.userCode === userCode) started.by = person.subject
}

const linked = withConnection<string, string>(
  {
    connection: 'github',
    mode: 'block',
    // The person is known by the address that they are shown; the agent, by the session.
    onConnect: ({ data }, session) => {
      const person = new URL(data.connectUrl).searchParams.get('for')
      const { who } = sessions.find((one) => one.session === session) ?? { who: 'nobody' }
      if (who.startsWith(`${person} `)) double.linked.add(who)
    },
  },
  (word, vault) => call(word, vault),
)

const { run, bind } = conversations()
const tools: Readonly<Record<string, WrappedTool<string, string>>> = {
  'a question': async (query, session) => (await session.retrieve({ query })).results[0]?.text ?? 'nothing',
  'a question in a conversation': (query, session) => {
    const bound = bind<string, string>(async (asked, current) => {
      await setTimeout(1)
      return (await current.retrieve({ query: asked })).results[0]?.text ?? 'nothing'
    })
    return run(session, () => bound(query))
  },
  'another API by exchange': async (word, session) =>
    call(word, await session.access({ audience: broker, scopes: [] })),
  'approval that is waited for': approval('block'),
  'approval that is looked for': until(approval('poll')),
  'approval that interrupts': resumed(approval('interrupt')),
  'a third party': linked,
  'sign-in that is waited for': withDeviceFlow(
    {
      audience: broker,
      scopes: ['a'],
      mode: 'block',
      onSignIn: ({ data }, session) => enter(data.userCode, session),
    },
    call,
  ),
  'sign-in that interrupts': until(withDeviceFlow({ audience: broker, scopes: ['b'] }, call)),
}

/** The same call again, until the person has done their part. */
function until(tool: WrappedTool<string, string>): WrappedTool<string, string> {
  return async (word, session) => {
    for (;;) {
      try {
        return await tool(word, session)
      } catch (error) {
        if (isRemitError(error, 'sign_in_required')) enter(error.data.userCode, session)
        else if (!isRemitError(error, 'approval_pending')) throw error
        await setTimeout(2)
      }
    }
  }
}

/** The app keeps the question as text, and another process goes on with it. */
function resumed(tool: WrappedTool<string, string>): WrappedTool<string, string> {
  return async (word, session) => {
    try {
      return await tool(word, session)
    } catch (thrown) {
      const error = errorFromJSON(JSON.parse(JSON.stringify(thrown)))
      if (!isRemitError(error, 'approval_pending')) throw thrown
      return tool(word, session, { resume: error.data.resume })
    }
  }
}

/** The same order in every run. */
function* shuffled<T>(items: readonly T[]): Generator<T> {
  let state = 20_261_125
  const left = [...items]
  while (left.length > 0) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    const [taken] = left.splice(state % left.length, 1)
    if (taken !== undefined) yield taken
  }
}

test('a thousand interleaved calls of two people with two agents, through every wrapper: not one crosses over', async () => {
  const names = Object.keys(tools)
  const made = Array.from({ length: calls }, (_, index) => {
    const { session, who } = sessions[index % sessions.length]!
    const name = names[Math.floor(index / sessions.length) % names.length]!
    return { name, session, who, word: `w${index}` }
  })
  const answers: { readonly expected: string; readonly answer: string }[] = []
  const queue = shuffled(made)
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      for (const { name, session, who, word } of queue)
        answers.push({ expected: `${who} ${word}`, answer: await tools[name]!(word, session) })
    }),
  )
  expect(answers).toHaveLength(calls)
  expect(answers.filter(({ expected, answer }) => answer !== expected)).toEqual([])
})
