import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { settleBlocks } from '../../../src/sources/people/blocks.ts'
import type { Database } from '../../../src/store/sql.ts'
import { emails, openPeopleWorld, type PeopleWorld } from './world.ts'

let at: PeopleWorld
beforeAll(async () => {
  at = await openPeopleWorld()
})
beforeEach(() => at.reset())
afterAll(() => at?.[Symbol.asyncDispose]())

const tuplesOn = async (object: `${string}:${string}`) => {
  const found: string[] = []
  for await (const { user, relation } of at.directory.service.fga.read({ object }))
    found.push(`${user} ${relation}`)
  return found.sort()
}
const group = 'group:intranet/suspended'
const kept = `${group}#member blocked`

let count = 0
let anne: { readonly key: string; readonly id: string; readonly mail: string }
beforeEach(async () => {
  count += 1
  const key = `a${count}`
  const mail = `${key}@acme.test`
  anne = { key, mail, id: await at.person(key, mail) }
  at.intranet.accounts.set('7', { email: mail })
  at.intranet.groups.set('team', ['7'])
  at.intranet.pages.set('direct', { readers: ['7'] })
  at.intranet.pages.set('team', { readers: ['@team'] })
  at.intranet.pages.set('public', { readers: ['*'] })
  await at.add()
  expect(await at.reads(anne.key)).toEqual(['direct', 'public', 'team'])
})

/** As each second: a reading is not due, or fails. */
const look = () => at.directory.service.sources.runDue()

describe('a suspended account gives nothing from then on', () => {
  test.each([
    ['an administrator suspends it', async () => void (await at.suspend('7'))],
    [
      'the directory gives the person another address',
      () => at.change(anne.id, 'emails', emails(`other-${anne.mail}`)),
    ],
    ['the directory takes the address away', () => at.change(anne.id, 'emails', [])],
  ])(
    'though the source does not answer, where %s; once it does, what others give counts again',
    async (_, suspend) => {
      at.intranet.isDown = true
      await suspend()
      await look()
      expect(await at.reads(anne.key)).toEqual([])
      expect(await tuplesOn(group)).toEqual([`user:acme/${anne.key} member`])
      expect(await tuplesOn('collection:intranet')).toContain(kept)
      await at.sync()
      expect(await at.reads(anne.key)).toEqual([])
      at.intranet.isDown = false
      await at.sync()
      expect(await at.reads(anne.key)).toEqual(['public'])
      expect([await tuplesOn(group), await tuplesOn('group:intranet/team')]).toEqual([[], []])
      expect(await tuplesOn('collection:intranet')).not.toContain(kept)
    },
  )

  test('though the source is paused', async () => {
    await at.call('dan', 'POST', '/sources/intranet', { action: 'pause' })
    await at.suspend('7')
    await look()
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('though the process ended between noting it and writing it', async () => {
    at.intranet.isDown = true
    await at.suspend('7')
    await at.directory.database.query(`insert into source_blocks (source, subject) values ('intranet', $1)`, [
      `user:acme/${anne.key}`,
    ])
    await look()
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('though the process was killed while it let the person go after an earlier one', async () => {
    const { database, service } = at.directory
    at.intranet.isDown = true
    await at.suspend('7')
    await look()
    expect((await at.link('7', `user:acme/${anne.key}`)).status).toBe(200)
    const dying: Database = {
      ...database,
      async query(text, values) {
        if (text.startsWith('delete from source_blocks')) throw new Error('The process is killed.')
        return database.query(text, values)
      },
    }
    const writer = { ...operator('test'), subject: 'service:source/intranet' } as const
    const settling = settleBlocks({ database: dying, ingest: service.ingest }, 'intranet', writer)
    await expect(settling).rejects.toThrow('killed')
    expect(await tuplesOn(group)).toEqual([])
    await at.suspend('7')
    await look()
    expect(await at.reads(anne.key)).toEqual([])
  })

  test('and nobody is kept out by what a process noted that ended, where it is over or was never written', async () => {
    await at.directory.database.query(
      `insert into source_blocks (source, subject, is_written) values ('intranet', $1, true), ('intranet', 'user:acme/none', false)`,
      [`user:acme/${anne.key}`],
    )
    await look()
    expect(await at.directory.database.query('select from source_blocks')).toEqual([])
    expect(await at.reads(anne.key)).toEqual(['direct', 'public', 'team'])
  })

  test('and keeps nobody else out, nor the person whose account it is by two administrators’ word', async () => {
    await at.person(`b${count}`, `b${count}@acme.test`)
    at.intranet.accounts.set('8', { email: `b${count}@acme.test` })
    at.intranet.groups.set('team', ['7', '8'])
    await at.sync()
    at.intranet.isDown = true
    await at.suspend('7')
    await look()
    expect(await at.reads(`b${count}`)).toEqual(['public', 'team'])
    expect((await at.link('7', `user:acme/${anne.key}`)).status).toBe(200)
    await look()
    expect(await at.reads(anne.key)).toEqual(['direct', 'public', 'team'])
  })

  test('and nothing of it stays when the source is removed', async () => {
    at.intranet.isDown = true
    await at.suspend('7')
    await look()
    expect(await tuplesOn(group)).toHaveLength(1)
    await at.reset()
    expect(await tuplesOn(group)).toEqual([])
    expect(await tuplesOn('collection:intranet')).not.toContain(kept)
  })
})

test('a group of the source never takes the place of the one that keeps people out', async () => {
  at.intranet.groups.set('suspended', ['7'])
  at.intranet.pages.set('trap', { readers: ['@suspended'] })
  await at.sync()
  expect(await tuplesOn(group)).toEqual([])
  expect(await at.reads(anne.key)).not.toContain('trap')
  at.intranet.isDown = true
  await at.suspend('7')
  await look()
  expect(await at.reads(anne.key)).toEqual([])
})
