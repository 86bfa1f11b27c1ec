import { z } from 'zod'
import type { Wire } from './wire.ts'

/** How an account of a source stands: somebody, nobody any more, or nobody yet. */
export const personState = z.enum(['linked', 'suspended', 'unknown'])

/** An account of a source and who it is. */
export const sourcePerson = z.strictObject({
  /** The source's own id of it. */
  account: z.string(),
  /** What the source calls it. */
  name: z.string().nullable(),
  address: z.string().nullable(),
  state: personState,
  /** `user:ID`: who it is, or was until it was suspended. */
  subject: z.string().nullable(),
  /** What says so: the settings, the address at source and directory, or two administrators. */
  linked_by: z.enum(['settings', 'address', 'people']).nullable(),
  /** Why it is nobody. */
  reason: z.string().nullable(),
  /** Suspended until administrators say who it is; else for as long as the reason holds. */
  held: z.boolean(),
  /** The source does not have it any more. */
  gone: z.boolean(),
  changed_at: z.string(),
})

/** Who an account is, as an administrator says it. */
export const saidPerson = z.strictObject({
  account: z.string().min(1).max(500),
  subject: z.string().min(1).max(300),
})

/** What `POST /sources/{id}/people` takes. `confirm`: by another administrator than proposed. */
export const sourcePeopleAction = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('propose'), people: z.array(saidPerson).min(1).max(1_000) }),
  z.strictObject({ action: z.literal('confirm'), digest: z.string().min(1).max(100) }),
  z.strictObject({ action: z.literal('suspend'), account: z.string().min(1).max(500) }),
])

/** What `GET /sources/{id}/people` answers: a page of accounts by their ids, and how many there are. */
export const sourcePeopleAnswer = z.strictObject({
  counts: z.strictObject({ linked: z.int(), suspended: z.int(), unknown: z.int() }),
  people: z.array(sourcePerson),
  /** What one administrator said, and another is still to confirm by its digest. */
  proposed: z
    .strictObject({
      people: z.array(saidPerson),
      proposed_by: z.string(),
      digest: z.string(),
    })
    .nullable(),
  /** Ask for those after this account; null: that was all. */
  next: z.string().nullable(),
  txn: z.string(),
})

/** An account of a source and who it is. */
export type SourcePerson = Wire<typeof sourcePerson>

/** What `GET /sources/{id}/people` answers. */
export type SourcePeople = Wire<typeof sourcePeopleAnswer>
