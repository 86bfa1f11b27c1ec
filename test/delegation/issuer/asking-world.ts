import { createAsking } from './asking.ts'
import { openIssuerWorld } from './world.ts'

/** Anne has a handbook and lent it to research-bot, whose program may ask her by CIBA. */
export async function openAskingWorld(options: Parameters<typeof openIssuerWorld>[0] = {}) {
  const world = await openIssuerWorld(options)
  const asking = await createAsking(world)
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } },
  })
  const delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  return {
    world,
    asking,
    delegation,
    /** Ids of what a question about travel finds. */
    found: async (token: string | undefined) =>
      (await world.retrieve(token ?? '', { query: 'travel' })).results.map(({ document_id }) => document_id),
    /** Limits are for people, not for a file of tests: each begins with nothing asked. */
    async forget() {
      for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
        await world.database.query(`delete from ${table}`)
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

export type AskingWorld = Awaited<ReturnType<typeof openAskingWorld>>
