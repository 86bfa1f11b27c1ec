// Two people, two agents, one process, 1,000 interleaved calls: how many got the token of somebody else? The same is asked
// of our own client in packages/client/test/crossover.test.ts. No network: the peer's token endpoint is answered here,
// and says in the token whose it is.
//
//     cd benchmarks/crossover && npm ci --ignore-scripts && node run.cjs

const { setTimeout } = require('node:timers/promises')
const { MemoryStore } = require('@auth0/ai/stores')
const { getAccessTokenFromTokenVault, SUBJECT_TOKEN_TYPES, TokenVaultAuthorizerBase } = require('@auth0/ai/TokenVault')

const people = ['anne', 'bob']
const agents = ['agent-a', 'agent-b']
const calls = 1_000

globalThis.fetch = async (_url, { body }) => {
  await setTimeout(Math.random() * 4)
  const { subject_token: subject, client_id: agent } = JSON.parse(body)
  return Response.json({ access_token: `${subject} ${agent}`, expires_in: 300, scope: 'read' })
}

/** One authorizer for each agent, and one store between them. The person's token comes with the call. */
function toolsOf(credentialsContext) {
  const store = new MemoryStore()
  return Object.fromEntries(
    agents.map((agent) => {
      const authorizer = new TokenVaultAuthorizerBase(
        { domain: 'peer.test', clientId: agent, clientSecret: 'secret' },
        {
          store,
          credentialsContext,
          connection: 'github',
          scopes: ['read'],
          subjectTokenType: SUBJECT_TOKEN_TYPES.SUBJECT_TYPE_ACCESS_TOKEN,
          accessToken: async ({ person }) => person,
        },
      )
      const context = ({ thread, call }) => ({ threadID: thread, toolName: 'issues', toolCallID: call })
      return [agent, authorizer.protect(context, async () => getAccessTokenFromTokenVault())]
    }),
  )
}

async function crossovers(credentialsContext, threadOf) {
  const tools = toolsOf(credentialsContext)
  const queue = Array.from({ length: calls }, (_, index) => ({
    person: people[index % 2],
    agent: agents[(index >> 1) % 2],
    call: `c${index}`,
  }))
  let wrong = 0
  const work = async () => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const token = await tools[next.agent]({ ...next, thread: threadOf(next.person) })
      if (token !== `${next.person} ${next.agent}`) wrong += 1
    }
  }
  await Promise.all(Array.from({ length: 50 }, work))
  return wrong
}

async function main() {
  const threads = {
    'one thread for both': () => 'thread-1',
    'a thread for each': (person) => `thread-of-${person}`,
  }
  console.log(`@auth0/ai 5.1.1, token vault: calls of ${calls} that got the token of somebody else`)
  for (const credentialsContext of ['thread', 'agent', 'tool', 'tool-call'])
    for (const [name, threadOf] of Object.entries(threads)) {
      const isDefault = credentialsContext === 'thread' ? ' (the default)' : ''
      console.log(`${credentialsContext}${isDefault}, ${name}: ${await crossovers(credentialsContext, threadOf)}`)
    }
}

main().catch((error) => {
  console.error(String(error))
  process.exitCode = 1
})
