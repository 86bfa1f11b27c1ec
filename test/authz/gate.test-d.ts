import { expectTypeOf, test } from 'vitest'
import type { Cleared, Gate, GateOptions } from '../../src/authz/gate.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import type { Candidate } from '../../src/retrieval/candidate.ts'
import { type Passage, type Revision, readDocument, readPassages } from '../../src/retrieval/read.ts'
import type { Sql } from '../../src/store/sql.ts'

declare const sql: Sql
declare const gate: Gate
declare const options: GateOptions
declare const principal: Principal
declare const candidate: Candidate
declare const revision: Revision

test('text cannot be read for a candidate that the gate has not cleared', () => {
  // @ts-expect-error uncleared
  void readPassages(sql, [candidate])
  // @ts-expect-error uncleared
  void readDocument(sql, revision)
})

test('nobody makes a cleared candidate by copying, spreading or marking one', () => {
  // @ts-expect-error the mark is missing
  const assigned: Cleared<Candidate> = candidate
  // @ts-expect-error the mark is missing
  const spread: Cleared<Candidate> = { ...candidate }
  // @ts-expect-error a property called `cleared` is not the mark
  const marked: Cleared<Candidate> = { ...candidate, cleared: true }
  // @ts-expect-error another symbol is not the mark
  const signed: Cleared<Candidate> = { ...candidate, [Symbol('cleared')]: true }
  void [assigned, spread, marked, signed]
})

test('a cleared document does not open another shape', () => {
  const cleared = {} as Cleared<Revision>
  // @ts-expect-error a revision is no candidate
  void readPassages(sql, [cleared])
})

test('text can be read for what the gate has cleared', () => {
  const read = async (): Promise<Passage[]> => {
    const { cleared } = await gate.open(principal, options).clear([candidate])
    return readPassages(sql, cleared)
  }
  expectTypeOf(read).returns.resolves.toEqualTypeOf<Passage[]>()
})

test('a candidate has no text to leak', () => {
  expectTypeOf<keyof Candidate>().toEqualTypeOf<
    'chunkId' | 'documentId' | 'publication' | 'isNew' | 'ordinal' | 'score'
  >()
})
