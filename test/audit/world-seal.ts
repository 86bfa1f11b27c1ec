import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DecisionEvent } from '@remit/contract/decision-event'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { record } from '../../src/audit/record.ts'
import type { readHeads } from '../../src/audit/seal/heads.ts'
import { openSealKey, type SealKey } from '../../src/audit/seal/key.ts'
import { createSealer } from '../../src/audit/seal/sealer.ts'
import { verifyRecord } from '../../src/audit/seal/verify.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

export const who = (subject: `user:${string}`, txn = 't_1') =>
  ({ subject, actors: ['agent:research-bot'], client: 'bot', txn, delegation: 'd_1' }) as const
export const read = (document_id: string) =>
  ({
    event: 'document_read',
    document_id,
    released: { proof: 'asked' },
    model_id: 'm_1',
    openfga_request_ids: [],
  }) as const satisfies DecisionEvent
/** A question that gave nothing. */
export const asked = {
  event: 'retrieved',
  query_hmac: 'h',
  model_id: 'm_1',
  consistency: 'fast',
  mode: 'hybrid',
  openfga_request_ids: [],
  released: [],
  considered: 0,
  denied: 0,
  passed_over: 0,
  errors: 0,
  complete: true,
} as const

export let database: Database
export let key: SealKey
/** Of the key. */
export let folder: string
let now = Date.now()
/** As the machine's at the beginning of each test; stands still from there. */
export const clock = {
  now: () => now,
  pass(milliseconds: number): void {
    now += milliseconds
  },
}
export const newTxn = () => 't_job'

/** A database for one `describe`, with nothing on record at the beginning of each test. */
export function openSealed(kind: Parameters<typeof openTestDatabase>[0]): void {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-seal-'))
    key = await openSealKey(folder)
    database = await openTestDatabase(kind)
  })
  afterAll(async () => {
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })
  beforeEach(empty)
  afterEach(() => asOwner('select 1'))
}

/** Takes all off the record. */
export async function empty(): Promise<void> {
  now = Date.now()
  await asOwner(
    'delete from record_leaves; delete from record_seals; delete from decision_records; delete from record_gaps; delete from record_people; delete from agent_baselines; delete from record_given; delete from record_who',
  )
}

export const seal = () => createSealer({ database, key, clock }).seal()
export const verify = (heads: Awaited<ReturnType<typeof readHeads>> = []) =>
  verifyRecord(database, { publicKey: key.publicKey, heads, now: clock.now() })
/** As whoever owns the tables could. */
export const asOwner = (statements: string) =>
  database.transaction(async (sql) => {
    const tables = ['decision_records', 'record_seals', 'record_leaves', 'record_given', 'record_who']
    for (const table of tables) await sql.query(`alter table ${table} disable trigger user`)
    for (const one of statements.split('; ')) await sql.query(one)
    for (const table of tables) await sql.query(`alter table ${table} enable trigger user`)
  })
export const numbers = async (): Promise<number[]> =>
  (await database.query<{ record_no: number }>('select record_no from decision_records order by 1')).map(
    ({ record_no }) => record_no,
  )
/** Eight records in two seals. */
export async function sealed(): Promise<number[]> {
  for (const document of ['a', 'b', 'c', 'd']) await record(database, who('user:anne'), read(document))
  await seal()
  for (const document of ['e', 'f', 'g', 'h']) await record(database, who('user:bob'), read(document))
  await seal()
  return numbers()
}
