import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { openChromium } from '../support/chromium.ts'
import { openRealm, type Realm } from '../support/keycloak.ts'
import { needsChromium, needsKeycloak } from '../support/native.ts'
import { lendTo } from './lend-to.ts'

const needed = needsKeycloak.skip === true ? needsKeycloak : needsChromium
const person = { name: 'anne', password: 'of the realm' }
const secret = 'a secret of the test'

describe('through a live Keycloak in a real browser', needed, () => {
  let realm: Realm
  let world: IssuerWorld
  let sub: string
  beforeAll(async () => {
    if (needed.skip === true) return
    realm = await openRealm()
    sub = await realm.addUser(person)
    const entry = {
      issuer: realm.issuer,
      audiences: { api: 'https://remit.test/api', mcp: 'https://remit.test/mcp' },
      namespace: 'staff',
      preset: 'keycloak',
      sign_in: { client_id: 'remit', client_secret_env: 'STAFF_SECRET' },
    }
    world = await openIssuerWorld({
      env: { TRUSTED_ISSUERS: JSON.stringify([entry]), STAFF_SECRET: secret },
    })
    await realm.addClient({ id: 'remit', secret, redirectUris: [`${world.url}${callbackPath('staff')}`] })
    await world.put({
      'handbook/staff': { text: 'Travel of staff.', access: { viewers: [`user:staff/${sub}`] } },
      'handbook/anne': { text: 'Travel of anne.', access: { viewers: ['user:anne'] } },
    })
  }, 120_000)
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await realm?.[Symbol.asyncDispose]()
  })

  test('a person signs in there, consents here, and their agent reads what is theirs', async () => {
    await using browser = await openChromium()
    const token = await lendTo(world, browser, async (page) => {
      await page.getByRole('button', { name: /^Continue with 127\.0\.0\.1/ }).click()
      await page.locator('#username').fill(person.name)
      await page.locator('#password').fill(person.password)
      await page.locator('#kc-login').click()
    })
    expect(decodeJwt(token)).toMatchObject({
      sub: `staff/${sub}`,
      upstream: { iss: realm.issuer, sub },
      act: { sub: 'research-bot' },
    })
    const { results } = await world.retrieve(token, { query: 'travel', top_k: 5 })
    expect(results.map(({ document_id }) => document_id)).toEqual(['handbook/staff'])
    expect(await world.service.people.get(`staff/${sub}`)).toMatchObject({ name: 'anne Tester' })
  }, 60_000)
})
