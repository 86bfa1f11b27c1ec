import assert from 'node:assert/strict'
import { createProofs } from '../../../src/delegation/tokens/dpop.ts'
import type { Sql } from '../../../src/store/sql.ts'
import { textOf } from '../oracles.ts'

// Nobody can sign here: whatever gets as far as the table of used proofs went too far.
const sql = (() => {
  throw new Error('A proof that nobody signed was taken.')
}) as unknown as Sql
const proofs = createProofs({ sql, clock: { now: () => 1_800_000_000_000 }, secret: Buffer.alloc(32, 7) })

/** As it stands, and as the three parts of a JWS: header, claims, signature, a line each. */
export async function fuzz(bytes: Uint8Array): Promise<void> {
  const text = textOf(bytes)
  const parts = text.split('\n').map((part) => Buffer.from(part).toString('base64url'))
  for (const proof of [text, parts.slice(0, 3).join('.')]) {
    const answer = await proofs.check({ proof, method: 'POST', url: 'https://remit.test/retrieve' })
    assert.equal(answer.ok, false)
  }
}
