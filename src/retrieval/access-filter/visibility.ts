import type { Question } from '../../authz/gate/question.ts'
import { questionFor } from '../../authz/gate.ts'
import type { NominateOptions, Nominator } from '../../authz/nominate.ts'
import type { LocalQuestion } from '../../authz/permission-index.ts'
import { setBit } from '../../kernel/bits.ts'
import { createLru } from '../../kernel/lru.ts'
import { memoize } from '../../kernel/memoize.ts'
import type { Principal } from '../../kernel/principal.ts'
import { isOpenDocument } from '../../store/open-document.ts'
import type { Database, Sql, SqlValue } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type Filter, filterSql } from '../filter.ts'
import { type Asker, createMatches } from './matches.ts'
import type { Sights } from './sights.ts'
import {
  type AccessFilter,
  type Content,
  contentOf,
  type Drawing,
  draw,
  except,
  including,
  narrowed,
  type PublicationOf,
  visibleAs,
  visibleOf,
} from './visible.ts'

/** What a question may touch. It only nominates and counts: what is in it may still be refused. */
export interface Visibility {
  /** Throws where the filter is wrong, whatever the principal may read. */
  of(principal: Principal, options: SightOptions): Promise<Sight>
}

/** How visibility is narrowed, and whether documents to offer are wanted. */
export interface SightOptions extends NominateOptions, Narrowing {
  /** Documents that grants name which are presented: the replica may not have heard of those yet. */
  readonly granted?: readonly string[]
  /** Also what is kept from the agent only as sensitive. */
  readonly tells?: boolean
  /** False: nothing of it, with the same work, since of nothing the agent may be told now. */
  readonly offers?: boolean
}

/** What somebody may see, as far as the replica knows. The gate decides. */
export interface Sight {
  readonly visible: AccessFilter
  /**
   * Of which the agent may perhaps be told, and which it may not read: as {@link draw} draws it within the
   * collections, before a filter. Nothing where that was not asked for, or cannot be said from memory. How
   * long this takes tells of it.
   */
  untold(drawing: Drawing, signal: AbortSignal): Promise<AccessFilter>
  /** False: documents that this principal may read may be missing. */
  readonly complete: boolean
  /** What is visible without these documents, as it would be if there were none of them. */
  without(documentIds: ReadonlySet<string>): Promise<AccessFilter>
}

/** Snapshots where the index is ready, the nominator where it is not. */
export interface VisibilityDeps {
  readonly database: Database
  readonly sights: Sights
  readonly corpus: Corpus
  readonly nominator: Nominator
}

/**
 * From memory, where index and corpus are there; else by lists of ids, which the database is asked about. The
 * same statements are run for those who may read nothing and for everybody else: none without a filter. What
 * the index refuses is not in it, so that nothing of a question, its order, its depth or what it costs, rests
 * on that.
 */
export function createVisibility(dependencies: VisibilityDeps): Visibility {
  const { database, sights, corpus, nominator } = dependencies
  const filed = createFiled(corpus)
  const matches = createMatches({ database, corpus })

  const within = (content: Content, documents: Documents, collections: Narrowing['collections']) =>
    collections === undefined ? content : filed.within(content, documents, collections)
  const matching = (content: Content, documents: Documents, filter: Narrowing['filter'], asker: Asker) =>
    filter === undefined ? content : matches.within(content, documents, filter, asker)
  const narrow = (content: Content, documents: Documents, { collections, filter }: Narrowing, asker: Asker) =>
    matching(within(content, documents, collections), documents, filter, asker)

  return {
    async of(principal, { grants, granted = [], tells = false, offers = tells, signal, ...narrowing }) {
      const question = questionFor(principal, grants)
      const questions = offers ? [question, tellingOf(question)] : [question]
      const { isWhole, snapshots } = await sights.of(questions, signal)
      const [snapshot, tellableSnapshot] = snapshots
      if (snapshot === undefined) {
        const nomination = await nominator.nominate(principal, {
          ...(signal && { signal }),
          ...(grants && { grants }),
        })
        const ids = [...new Set([...nomination.documentIds, ...granted])]
        const lookUp = (documentIds: readonly string[]) =>
          visibleByQuery({ database, corpus }, documentIds, narrowing)
        return {
          visible: await lookUp(ids),
          untold: async () => visibleAs(nothing, 0, () => 0),
          complete: nomination.complete && isWhole,
          without: (refusedIds) => lookUp(ids.filter((id) => !refusedIds.has(id))),
        }
      }
      const { documents } = snapshot
      const chunkCount = documents.chunks
      const filterOf = (content: Content) =>
        visibleAs(content, chunkCount, (docNo) => documents.publicationOf(docNo))
      const readable = including(snapshot.content, granted, documents)
      const { collections, filter } = narrowing
      const person = principal.subject
      const content = await narrow(readable, documents, narrowing, { person, signal })
      return {
        visible: filterOf(content),
        async untold(drawing, signal) {
          if (!tells) return filterOf(nothing)
          const tellable = tellableSnapshot?.content ?? nothing
          const kept = within(except(tellable, readable.bits(), documents), documents, collections)
          const drawn = draw(kept, documents, drawing)
          return filterOf(await matching(drawn, documents, filter, { person, signal }))
        },
        complete: isWhole,
        async without(refusedIds) {
          const numbers = [...refusedIds].flatMap((id) => documents.numberOf(id) ?? [])
          const out = contentOf(Int32Array.from(numbers.sort((a, b) => a - b)), 0)
          return filterOf(except(content, out.bits(), documents))
        },
      }
    },
  }
}

const nothing = contentOf(new Int32Array(), 0)

const tellingOf = memoize((question: Question): LocalQuestion => ({ ...question, relation: 'can_be_told' }))

/**
 * Which documents are filed in some collections: a bit for each, nobody's own, that turns with its document.
 */
interface FiledBitmaps {
  /** Those of the content that are filed in one of these. An unknown collection has none. */
  within(content: Content, documents: Documents, collections: readonly string[]): Content
}

interface Kept {
  readonly collections: ReadonlySet<string>
  readonly bits: Buffer
}

// Room for so many documents more before a bitmap is made anew.
const initialCapacity = 4_096
// A changed document turns a bit in each; and collections may be asked for that there never were.
const entriesMax = 500

/**
 * `bytesMax` of all bitmaps together: default 32 MB, 256 choices of collections where there are a million
 * documents.
 */
export function createFiled(corpus: Pick<Corpus, 'onChange'>, bytesMax = 32_000_000): FiledBitmaps {
  const setsByKey = createLru<Kept>({
    weightMax: bytesMax,
    entriesMax,
    // The names stand in key and set, two bytes a letter at most.
    weightOf: (key, { bits }) => bits.length + 4 * key.length,
  })

  corpus.onChange((docNos, documents) => {
    for (const [, { collections, bits }] of setsByKey.entries()) {
      for (const docNo of docNos) setBit(bits, docNo, collections.has(documents.collectionOf(docNo) ?? ''))
    }
  })

  function make(documents: Documents, collections: readonly string[]): Kept {
    const bits = Buffer.alloc((documents.end + initialCapacity) >> 3)
    const isFiled = documents.filedIn(collections)
    for (let docNo = 0; docNo < documents.end; docNo++) if (isFiled(docNo)) setBit(bits, docNo)
    return { collections: new Set(collections), bits }
  }

  return {
    within(content, documents, collections) {
      const key = JSON.stringify([...collections].sort())
      let filedSet = setsByKey.get(key)
      // Beyond its end it was told of nothing.
      if (filedSet === undefined || filedSet.bits.length * 8 < documents.end) {
        filedSet = make(documents, collections)
        setsByKey.set(key, filedSet)
      }
      return narrowed(content, filedSet.bits, documents)
    },
  }
}

/** Collections and a metadata filter that narrow what is visible. */
export interface Narrowing {
  readonly collections?: readonly string[]
  readonly filter?: Filter
}

/** The database, and the corpus where it is known. */
interface VisibleByQueryDeps {
  readonly database: Database
  readonly corpus?: Pick<Corpus, 'lastKnown'>
}

/** Asks the database which of these documents are live, and how many chunks they have. */
export async function visibleByQuery(
  { database, corpus }: VisibleByQueryDeps,
  documentIds: readonly string[],
  { collections, filter }: Narrowing,
): Promise<AccessFilter> {
  const values: SqlValue[] = [documentIds]
  const conditions = ['id = any($1)', 'live_revision is not null', 'chunk_count > 0', isOpenDocument]
  if (collections !== undefined) {
    values.push(collections)
    conditions.push(`collection = any($${values.length})`)
  }
  // First of all: a wrong filter is refused the same way for those who may read nothing.
  if (filter !== undefined) conditions.push(...filterSql(filter, await readFields(database), values))
  const rows = await database.query<{
    doc_no: number | null
    chunk_count: number
    publication: number
    estimate: number
  }>(
    `select d.doc_no, d.chunk_count, d.publication, greatest(c.reltuples, 0)::float8 as estimate
     from pg_class c left join (
       select doc_no, chunk_count, publication from documents where ${conditions.join(' and ')}
     ) d on true
     where c.oid = 'chunk_texts'::regclass order by d.doc_no`,
    values,
  )
  const docNos = rows.flatMap(({ doc_no }) => doc_no ?? [])
  const chunks = rows.reduce((sum, { chunk_count }) => sum + chunk_count, 0)
  const chunkCount = corpus?.lastKnown()?.chunks ?? rows[0]?.estimate ?? 0
  const publications = new Map(rows.map(({ doc_no, publication }) => [doc_no, publication]))
  const publicationOf: PublicationOf = (docNo) => publications.get(docNo) ?? 0
  return visibleOf(Int32Array.from(docNos), chunks, Math.max(chunks, chunkCount), publicationOf)
}

async function readFields(sql: Sql): Promise<Fields> {
  const rows = await sql.query<{ name: string; type: 'string' | 'number' | 'boolean' | 'date' }>(
    'select name, type from fields',
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}
