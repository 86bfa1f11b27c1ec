import { record } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import { endsOf, tupleId } from '../authz/fga.ts'
import { eachOf } from '../kernel/each-of.ts'
import { AppError } from '../kernel/errors.ts'
import { documentObject, type FgaObject } from '../kernel/ids.ts'
import { betweenLeases } from '../store/lease.ts'
import { noteMoved } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext, Writer } from './context.ts'
import { endOf, keepingLaterEnd, markUnsettled, ownerOf, setTags, tagKey, toTuple } from './desired-tuples.ts'
import { broughtBy, lastSaid, readDocuments, type StoredDocument } from './document-rows.ts'
import { mend } from './drift.ts'
import { isHeld, retagFailed } from './failed-documents.ts'
import { fileMentioned, reconcileParents } from './filing.ts'
import type { Hold } from './hold.ts'
import { type JobNote, noteTexts } from './job-store.ts'
import { type AcceptedPlacement, decidePlacements } from './placement.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import type { Access } from './wire.ts'

/**
 * Sets who may read a document anew; its content stays. Removals are in force when this returns. Additions
 * too, unless new content waits to be published: then they come with it, so that nobody who is added sees
 * what was there before. Throws `not_found` for what is missing or another's and may not be written, 403 or
 * 409 like a PUT.
 */
export async function retag(
  context: IngestContext,
  writer: Writer,
  id: string,
  access: Access,
  signal?: AbortSignal,
): Promise<readonly JobNote[]> {
  const { database, fga, clock, newId, documentLocks } = context
  const object = documentObject(id)
  return documentLocks.hold(
    [object],
    async (hold) => {
      const allowList = context.allowList()
      const storedDocument = (await readDocuments(database, [id])).get(id)
      // Also where nothing is there: a 404 at once would tell that from one of others.
      const [decision] = await decidePlacements(
        { database, fga, allowList, now: clock.now() },
        writer.subject,
        [{ id, collection: storedDocument?.collection ?? newId(), access }],
      )
      if (storedDocument === undefined || decision === undefined) throw new AppError('not_found')
      if (!decision.ok && decision.error.field === 'collection' && !broughtBy(writer.subject, storedDocument))
        throw new AppError('not_found')
      // What failed is there for whoever may write it: a retry would bring it with the access of before.
      if (
        !storedDocument.isLive &&
        !storedDocument.isPending &&
        !(await isHeld(database, storedDocument.docNo))
      )
        throw new AppError('not_found')
      if (!decision.ok) throw decision.error
      await apply(allowList, hold, writer, id, storedDocument, decision.accepted)
      await reconcileParents(context, decision.accepted.tags)
      await reconcileObject(context, hold, object)
      return decision.accepted.sensitivityKept
        ? [{ id, code: 'sensitivity_kept', detail: noteTexts.sensitivity_kept }]
        : []
    },
    signal,
  )
}

async function apply(
  allowList: AllowList,
  hold: Hold,
  writer: Writer,
  id: string,
  storedDocument: StoredDocument,
  { tags: newTags, narrowed, newParents }: AcceptedPlacement,
): Promise<void> {
  const object = documentObject(id)
  await hold.transaction(async (sql) => {
    await writer.assertCurrent?.(sql)
    await assertInForce(sql, allowList)
    await fileMentioned(sql, storedDocument.collection, newParents)
    let isOther = storedDocument.isPending
    if (storedDocument.isPending) {
      await sql.query(
        `update revisions set access = $2, owner = $3, retagged = true
         where doc_no = $1 and revision = (select accepted_revision from documents where doc_no = $1)`,
        [storedDocument.docNo, JSON.stringify(newTags), ownerOf(newTags)],
      )
    } else {
      const owned = await sql.query(
        'update documents set owner = $2 where doc_no = $1 and owner is distinct from $2 returning 1',
        [storedDocument.docNo, ownerOf(newTags)],
      )
      const isHeldOther = await retagFailed(sql, storedDocument.docNo, newTags)
      isOther = owned.length > 0 || isHeldOther
    }
    const nextTags = storedDocument.isPending ? narrowed : newTags
    if (storedDocument.isLive || storedDocument.tags.length > 0) await setTags(sql, object, nextTags)
    const saidKeys = new Set(lastSaid(storedDocument).map(tagKey))
    const saidInForce = storedDocument.tags.filter((tag) => saidKeys.has(tagKey(tag)))
    const storedByKey = new Map(saidInForce.map((tag) => [tagKey(tag), tag]))
    // A later or an earlier end is a change, too.
    const written = newTags.filter((tag) => {
      const storedTag = storedByKey.get(tagKey(tag))
      return storedTag === undefined || endOf(storedTag) !== endOf(tag)
    })
    const writes = written.map((tag) => toTuple(object, tag))
    const newKeys = new Set(newTags.map(tagKey))
    const deletes = saidInForce.filter((tag) => !newKeys.has(tagKey(tag)))
    // A source hides what it cannot bring at each of its readings.
    if (writes.length + deletes.length === 0 && !isOther) return
    await record(sql, writer, {
      event: 'access_changed',
      writes: writes.map(tupleId),
      deletes: deletes.map((tag) => tupleId(toTuple(object, tag))),
      ...endsOf(writes),
    })
  })
}

// No person is a writer, a tagger or an organization.
const onContent = `split_part(object, ':', 1) in ('document', 'folder', 'zone', 'collection')`
// Keys that move are of an issuer, `user:acme/anne`; by that their index is found.
const kindOfTag = `split_part(object, ':', 1) || '#' || relation`
const ofPerson = `desired_tuples where subject = $1 and subject like 'user:%/%' and ${onContent}`

/** Tags that name a subject (`user:acme/anne`), on documents and what they lie in. */
export async function countTags(sql: Sql, subject: string): Promise<number> {
  const [row] = await sql.query<{ n: number }>(`select count(*) as n from ${ofPerson}`, [subject])
  return row?.n ?? 0
}

/**
 * Gives another subject those tags of this one that only keep from reading, and resolves when OpenFGA holds
 * that.
 */
export async function copyBlocks(
  context: IngestContext,
  oldSubject: string,
  newSubject: string,
): Promise<void> {
  const list = context.allowList()
  await betweenLeases(context.database, async (sql) => {
    for (const block of await blocksOf(sql, list, oldSubject))
      await copyTags(sql, oldSubject, newSubject, block)
  })
  await mendObjectsOf(context, newSubject)
}

/** The kinds of tags of a subject that only keep from reading: `document#blocked`. */
async function blocksOf(sql: Sql, list: AllowList, subject: string): Promise<readonly string[]> {
  const kinds = await sql.query<{ type: string; relation: string }>(
    `select distinct split_part(object, ':', 1) as type, relation from ${ofPerson}`,
    [subject],
  )
  return kinds.flatMap(({ type, relation }) =>
    list.isWidening(type, relation) ? [] : [`${type}#${relation}`],
  )
}

/**
 * Gives another subject every tag of this one on documents and what they lie in, and what of documents names
 * it, and resolves when OpenFGA holds that. From then on whoever names the old one there names the new one. A
 * tag that both have keeps its later end. May run twice; after a crash the objects' marks see to OpenFGA.
 * Does NOT move memberships and lendings. False, with nothing done: the new one lacks a block that was said
 * since {@link copyBlocks}.
 */
export async function renameSubject(
  context: IngestContext,
  oldSubject: string,
  newSubject: string,
): Promise<boolean> {
  const list = context.allowList()
  const isDone = await betweenLeases(context.database, async (sql) => {
    // Statements of no lease change several of these, in an order of their own.
    await sql.query('lock table revisions, failed_documents in exclusive mode')
    const lacking = await sql.query(
      `select from ${ofPerson} and ${kindOfTag} = any($3::text[]) and not exists (
         select from desired_tuples other where other.object = desired_tuples.object
           and other.relation = desired_tuples.relation and other.subject = $2) limit 1`,
      [oldSubject, newSubject, await blocksOf(sql, list, oldSubject)],
    )
    if (lacking.length > 0) return false
    await copyTags(sql, oldSubject, newSubject)
    await sql.query(`delete from ${ofPerson}`, [oldSubject])
    await sql.query(`select from documents where owner = $1 order by doc_no for no key update`, [oldSubject])
    await sql.query('update documents set owner = $2 where owner = $1', [oldSubject, newSubject])
    await sql.query('update revisions set owner = $2 where owner = $1', [oldSubject, newSubject])
    // Of revisions that are on their way in: their tags as they will be set.
    for (const table of ['revisions', 'failed_documents'])
      await sql.query(
        `update ${table} set access = (
           select jsonb_agg(case when tag ->> 'subject' = $1 then tag || jsonb_build_object('subject', $2::text) else tag end)
           from jsonb_array_elements(access) tag)
         where access @> jsonb_build_array(jsonb_build_object('subject', $1::text))`,
        [oldSubject, newSubject],
      )
    await noteMoved(sql, oldSubject)
    return true
  })
  if (isDone) await mendObjectsOf(context, newSubject)
  return isDone
}

/** With marks of their objects. `kind`: only this one, `document#blocked`. */
async function copyTags(sql: Sql, oldSubject: string, newSubject: string, kind?: string): Promise<void> {
  const copied = `${ofPerson} and ($2::text is null or ${kindOfTag} = $2)`
  const objects = await sql.query<{ object: string }>(
    `select distinct object from ${copied} order by object`,
    [oldSubject, kind ?? null],
  )
  await sql.query(
    `insert into desired_tuples (object, relation, subject, expires_at)
     select object, relation, $3, expires_at from ${copied}
     ${keepingLaterEnd}`,
    [oldSubject, kind ?? null, newSubject],
  )
  for (const { object } of objects) await markUnsettled(sql, object, false)
}

/** Of documents and what they lie in, also what a run before left. Throws once all others are mended. */
async function mendObjectsOf(context: IngestContext, subject: string): Promise<void> {
  const objects = await context.database.query<{ object: FgaObject }>(
    `select object from unreconciled where ${onContent} and exists (
       select from desired_tuples t where t.object = unreconciled.object and t.subject = $1) order by object`,
    [subject],
  )
  await eachOf(objects, ({ object }) =>
    mend(context, object, { part: 'content', assertSound: context.assertSound }),
  )
}
