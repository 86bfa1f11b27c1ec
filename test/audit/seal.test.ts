import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { operator, record } from '../../src/audit/record.ts'
import { readHeads } from '../../src/audit/seal/heads.ts'
import { openSealKey } from '../../src/audit/seal/key.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import { verifyRecord } from '../../src/audit/seal/verify.ts'
import { describeDatabases } from '../support/backends.ts'
import {
  asOwner,
  clock,
  database,
  folder,
  key,
  numbers,
  openSealed,
  read,
  seal,
  sealed,
  verify,
  who,
} from './world-seal.ts'

describeDatabases('the sealed record', (kind) => {
  openSealed(kind)

  test('is whole where nobody touched it, and seals nothing twice', async () => {
    const [, , , , , , , last] = await sealed()
    expect(await seal()).toBe(0)
    const verified = await verify()
    expect(verified).toMatchObject({ records: 8, seals: 2, waiting: 0, found: 0, findings: [] })
    expect(verified.head?.seal).toBe(2)
    await record(database, who('user:anne'), read('late'))
    expect(await verify()).toMatchObject({ records: 8, waiting: 1, found: 0 })
    expect((await numbers()).at(-1)).toBeGreaterThan(last ?? 0)
  })

  test.each([
    ['its subject', `subject = 'user:bob'`],
    ['its time', `at = at + interval '1 microsecond'`],
    ['its agents', `actors = '{agent:other}'`],
    ['how it went', `decision = 'denied'`],
    ['what it was about', `objects = '{}'`],
    ['its detail', `detail = detail || '{"document_id": "x"}'`],
    ['its trace', `trace_id = 'x'`],
    ['to whom it looks erased', `subject = (select alias from record_people where subject = 'user:anne')`],
  ])('shows a record that was edited in %s, and which', async (_, change) => {
    const [, second] = await sealed()
    await asOwner(`update decision_records set ${change} where record_no = ${second}`)
    const { found, findings } = await verify()
    expect(found).toBe(1)
    expect(findings).toMatchObject([{ seal: 1, record: second }])
  })

  test('shows a record that was removed, one at the end too', async () => {
    const all = await sealed()
    await asOwner(`delete from decision_records where record_no in (${all[2]}, ${all[7]})`)
    expect((await verify()).findings).toEqual([
      { kind: 'removed', seal: 1, record: all[2] },
      { kind: 'removed', seal: 2, record: all[7] },
    ])
  })

  test('shows two records that changed places, within a seal and across', async () => {
    const all = await sealed()
    const columns = ['at', 'txn', 'subject', 'objects', 'detail'].map((one) => `${one} = o.${one}`).join(', ')
    const swap = (one = 0, other = 0) =>
      asOwner(
        `update decision_records d set ${columns} from decision_records o
         where (d.record_no, o.record_no) in ((${one}, ${other}), (${other}, ${one}))`,
      )
    await swap(all[0], all[1])
    await swap(all[2], all[6])
    expect((await verify()).findings).toEqual([
      { kind: 'swapped', seal: 1, record: all[0], other: all[1] },
      { kind: 'swapped', seal: 1, record: all[2], other: all[6] },
    ])
  })

  test('shows a record that was put between others, and one that nobody seals', async () => {
    const all = await sealed()
    await asOwner(
      `insert into decision_records (record_no, at, txn, event, subject, actors, client, detail)
       overriding system value select record_no - 100000, at - interval '1 hour', txn, event, subject, actors, client, detail
       from decision_records where record_no = ${all[0]}`,
    )
    expect((await verify()).findings).toEqual([{ kind: 'unsealed', record: (all[0] ?? 0) - 100_000 }])
    clock.pass(120_000)
    await record(database, who('user:anne'), read('x'))
    await asOwner(`update decision_records set at = at - interval '1 minute' where record_no > ${all[7]}`)
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'unsealed', detail: '1 record was never sealed' }),
    )
  })

  test.each([
    ['leaves somebody out', `delete from record_given where record_no = `, 1],
    ['has another document', `update record_given set document_id = 'x' where record_no = `, 1],
    ['has another time', `update record_given set at = at - interval '1 us' where record_no = `, 1],
    [
      'has somebody else',
      `insert into record_who (subject, actors, client) select 'user:bob', actors, client from record_who limit 1;
       update record_given set who = (select max(who) from record_who) where record_no = `,
      1,
    ],
    [
      'calls a person erased who is not',
      `update record_who set subject = (select alias from record_people where subject = 'user:anne') where subject = 'user:anne' or 0 = `,
      4,
    ],
    [
      'has what was never given',
      `insert into record_given select 'secret', at, record_no, who from record_given where record_no = `,
      1,
    ],
    [
      'has a record that does not exist',
      `insert into record_given select document_id, at, record_no - 1000000, who from record_given where record_no = `,
      0,
    ],
  ])('shows a list of who was given what that %s', async (_, change, count) => {
    const [, second = 0] = await sealed()
    await asOwner(`${change.replace(/;\n */, '; ')}${second}`)
    const { findings, found } = await verify()
    expect(found).toBe(Math.max(count, 1))
    expect(findings.every(({ kind }) => kind === 'listed_otherwise')).toBe(true)
  })

  test('shows seals that were edited, left out or made with another key', async () => {
    await sealed()
    await asOwner(`update record_seals set sealed_at = sealed_at - interval '1 day' where seal_no = 1`)
    expect((await verify()).findings).toMatchObject([{ kind: 'seal_changed', seal: 1 }])
    await asOwner(`update record_seals set sealed_at = sealed_at + interval '1 day' where seal_no = 1`)
    expect((await verify()).found).toBe(0)
    await asOwner(
      'update record_leaves set digests = set_byte(digests, 2, (get_byte(digests, 2) + 1) % 256) where seal_no = 2',
    )
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'seal_changed', seal: 2 }),
    )
    await asOwner('delete from record_leaves where seal_no = 1; delete from record_seals where seal_no = 1')
    expect((await verify()).findings).toContainEqual(
      expect.objectContaining({ kind: 'seal_missing', seal: 1 }),
    )

    await asOwner('delete from record_leaves; delete from record_seals')
    const other = await openSealKey(await mkdtemp(join(folder, 'other-')))
    await createSealer({ database, key: other, clock }).seal()
    expect((await verify()).findings).toMatchObject([{ kind: 'foreign_key', seal: 1 }])
  })

  test('shows against a head kept elsewhere that its tail was cut off, or that it was all sealed anew', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 0, limit: 100 })
    expect((await verify(heads)).found).toBe(0)
    await asOwner(
      `delete from record_leaves where seal_no = 2; delete from record_seals where seal_no = 2; delete from decision_records where record_no > ${all[3]}; delete from record_given where record_no > ${all[3]}`,
    )
    expect((await verify()).found).toBe(0)
    expect((await verify(heads)).findings).toMatchObject([{ kind: 'truncated', seal: 2 }])
    // By somebody who has the key as well.
    await asOwner(
      `delete from record_leaves; delete from record_seals; delete from record_given; update decision_records set subject = 'user:bob'`,
    )
    await seal()
    expect((await verify()).found).toBe(0)
    expect((await verify(heads)).findings).toContainEqual(
      expect.objectContaining({ kind: 'head_differs', seal: 1 }),
    )
  })

  test('goes on from a head that was kept: what was done since is found, and the head is compared first', async () => {
    const all = await sealed()
    const heads = await readHeads(database, { after: 1, limit: 1 })
    const resume = (from = heads) =>
      verifyRecord(database, { publicKey: key.publicKey, heads: from, from: 2, now: clock.now() })
    expect(await resume()).toMatchObject({ found: 0, records: 4, seals: 1 })
    await record(database, who('user:anne'), read('later'))
    await seal()
    expect(await resume()).toMatchObject({ found: 0, records: 5, seals: 2, waiting: 0 })
    await asOwner(`update decision_records set client = 'x' where record_no in (${all[0]}, ${all[5]})`)
    expect((await resume()).findings).toEqual([{ kind: 'changed', seal: 2, record: all[5] }])
    const [head] = heads
    const other = head === undefined ? [] : [{ ...head, head: '0'.repeat(64) }]
    expect((await resume(other)).findings).toContainEqual(
      expect.objectContaining({ kind: 'head_differs', seal: 2 }),
    )
    // Of what was never sealed, that which came since.
    await asOwner(
      `insert into decision_records (record_no, at, txn, event, subject, actors, client, detail)
       overriding system value select record_no + 1000, at - interval '1 hour', txn, event, subject, actors, client, detail
       from decision_records where record_no = ${all[7]}`,
    )
    expect((await resume()).findings).toContainEqual(expect.objectContaining({ kind: 'unsealed' }))
  })

  test('shows a seal before the first, and a drop of what no retention takes', async () => {
    const all = await sealed()
    await asOwner(`insert into record_seals select 0, sealed_at, records, first_no, last_no, sealed_to, newest_at, digest, head,
      public_key, signature from record_seals where seal_no = 1`)
    expect((await verify()).findings).toMatchObject([{ kind: 'seal_changed', seal: 0 }])
    await asOwner(
      `delete from record_seals where seal_no = 0; delete from record_leaves where seal_no = 1;
      delete from decision_records where record_no <= ${all[3]}`.replaceAll(';\n', '; '),
    )
    await record(database, operator('t_9'), {
      event: 'records_dropped',
      to_seal: 1,
      records: 4,
      before: new Date(clock.now()).toISOString(),
    })
    await seal()
    const { findings } = await verify()
    expect(findings).toContainEqual(expect.objectContaining({ kind: 'removed', seal: 1 }))
    // Who was given the four is listed still.
    expect(findings.filter(({ kind }) => kind === 'listed_otherwise')).toHaveLength(4)
  })
})
