import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RecordActor } from '../../src/audit/record.ts'
import { type AccountLinks, createAccountLinks } from '../../src/delegation/people/links.ts'
import { createPeople } from '../../src/delegation/people/people.ts'
import type { Database } from '../../src/store/sql.ts'
import { movableClock, openMigrated } from './world.ts'

const recordedAs: RecordActor = { subject: 'user:anne', actors: [], client: 'remit-pages', txn: 't_1' }
const account = { issuer: 'https://idp.test', sub: 'a-1' }
let database: Database
let links: AccountLinks

beforeAll(async () => {
  database = await openMigrated()
  links = createAccountLinks({
    database,
    delegations: { revokeWithin: () => Promise.reject(new Error('Nothing was lent here.')) },
    clock: movableClock(),
  })
  const people = createPeople({ sql: database })
  for (const key of ['anne', 'bob']) await people.save({ key, name: key })
})
afterAll(() => database.close())

const events = () =>
  database.query(`select event, detail from decision_records where event like 'account_%' order by record_no`)

describe('a link', () => {
  test('makes an account at an issuer a local one, by issuer and sub, until it is ended', async () => {
    await links.link({ ...account, person: 'anne' }, recordedAs)
    expect(await links.of(account)).toBe('anne')
    expect(await links.of({ ...account, issuer: 'https://other.test' })).toBeUndefined()
    expect(await links.of({ ...account, sub: 'a-2' })).toBeUndefined()
    expect(await links.list('anne')).toEqual([{ ...account, person: 'anne', linkedAt: expect.any(Date) }])
    expect(await links.unlink({ ...account, person: 'anne' }, recordedAs)).toBe(true)
    expect(await links.of(account)).toBeUndefined()
    expect(await links.list('anne')).toEqual([])
  })

  test('is on record when it is made and when it ends, once each', async () => {
    const before = (await events()).length
    await links.link({ ...account, person: 'anne' }, recordedAs)
    await links.link({ ...account, person: 'anne' }, recordedAs)
    await links.unlink({ ...account, person: 'anne' }, recordedAs)
    await links.unlink({ ...account, person: 'anne' }, recordedAs)
    expect((await events()).slice(before)).toEqual([
      { event: 'account_linked', detail: { ...account, person: 'anne' } },
      { event: 'account_unlinked', detail: { ...account, person: 'anne' } },
    ])
  })

  test('of one account is one person’s: nobody takes over or ends another’s', async () => {
    await links.link({ ...account, person: 'anne' }, recordedAs)
    await expect(links.link({ ...account, person: 'bob' }, recordedAs)).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await links.unlink({ ...account, person: 'bob' }, recordedAs)).toBe(false)
    expect(await links.of(account)).toBe('anne')
  })

  test('to nobody is refused', async () => {
    await expect(links.link({ ...account, sub: 'b', person: 'nobody' }, recordedAs)).rejects.toMatchObject({
      code: 'invalid_request',
      field: 'person',
    })
  })
})
