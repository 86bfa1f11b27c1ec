import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { BatchCheck, FgaApi } from '../../src/authz/fga-api.ts'
import { agree } from '../support/approvals.ts'
import { openWorld, type World } from '../support/world.ts'

/** Runs once, before OpenFGA is next asked by which grant a document goes. */
let meanwhile: (() => Promise<unknown>) | undefined
function watched(real: FgaApi): FgaApi {
  const batchCheck: BatchCheck = async (store, body, options) => {
    if (body.checks.some(({ tuple_key: { relation } }) => relation === 'granted')) {
      const run = meanwhile
      meanwhile = undefined
      await run?.()
    }
    return real.batchCheck(store, body, options)
  }
  return Object.create(real, { batchCheck: { value: batchCheck } }) as FgaApi
}

let world: World
let delegation: string
let bot: string
beforeAll(async () => {
  world = await openWorld({ env: { REQUEST_DEADLINE_MS: '60000' }, openfga: watched })
  await world.put({
    'folders/1': { text: 'Zebra plans one.', access: { parents: ['folder:zebras'] } },
    'handbook/open': { text: 'Zebras are striped.', access: { viewers: ['user:anne'] } },
  })
  await world.write('user:anne viewer folder:zebras', 'user:* sensitive folder:zebras')
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  bot = await world.token({ user: 'anne', agent: 'research-bot' })
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function found(): Promise<string[]> {
  const { results } = await world.retrieve(bot, { query: 'zebra zebras plans', mode: 'keyword' })
  return results.map(({ document_id }) => document_id).sort()
}
const read = (id: string) => world.call('GET', `/documents/${encodeURIComponent(id)}`, { token: bot })

async function remembered(): Promise<string> {
  const grant = await agree(world, { delegation, objects: ['folder:zebras'], remembered: true })
  await expect.poll(found, { timeout: 20_000 }).toEqual(['folders/1', 'handbook/open'])
  return grant
}
const takeBack = (grant: string) => () =>
  world.service.grants.approvalGrants.revoke('user:anne', grant, operator('t_tests'))

test('what is sensitive does not leave by a grant that is taken back before its use is counted', async () => {
  const grant = await remembered()
  meanwhile = takeBack(grant)
  expect(await found()).toEqual(['handbook/open'])
  expect(meanwhile).toBeUndefined()
})

test('nor does a whole document', async () => {
  const grant = await remembered()
  meanwhile = takeBack(grant)
  expect((await read('folders/1')).status).not.toBe(200)
  expect(meanwhile).toBeUndefined()
})

test('what is ordinary leaves without a use, beside a grant that stays', async () => {
  const grant = await remembered()
  expect((await read('handbook/open')).status).toBe(200)
  const [row] = await world.database.query<{ released: { grants?: string[] } }>(
    `select detail -> 'released' as released from decision_records where event = 'document_read'
     order by record_no desc limit 1`,
  )
  expect(row?.released.grants).toBeUndefined()
  await takeBack(grant)()
})
