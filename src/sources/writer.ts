import {
  type AccessChange,
  type AccessChanged,
  type DocumentInput,
  type Job,
  RemitError,
  WriteFailed,
  type Writer,
} from '@remit/client'
import { z } from 'zod'
import type { Tuple, TupleKey } from '../authz/fga.ts'
import type { Writer as Actor } from '../ingest/context.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { accessSchema, documentSchema } from '../ingest/wire.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import type { Scope } from '../kernel/principal.ts'
import { firstIssue } from '../kernel/validation-message.ts'
import { blockedGroup } from './people/blocks.ts'

/** What a source writes through, and as whom. */
export interface SourceWriterDeps {
  readonly ingest: Pick<Ingest, 'put' | 'importAll' | 'waitForJob' | 'retag' | 'changeAccess'>
  /** The source's own service. */
  readonly actor: Actor
  /** `ID/`: begins every id that it may write. */
  readonly prefix: string
  readonly collections: readonly string[]
  /**
   * Takes an item out of every search, since the source does not have it any more. Its text stays until it
   * is purged.
   */
  readonly hideMissing: (document: string) => Promise<void>
  /** The same of one that cannot be brought, whose reason is told at the end. */
  readonly hideBroken: (document: string) => Promise<void>
}

const until = z.strictObject({
  name: z.literal('until'),
  context: z.strictObject({ expires_at: z.iso.datetime({ offset: true }) }),
})

const scopes: ReadonlySet<Scope> = new Set<Scope>(['docs.write', 'directory.write'])

/**
 * The writer of a source that runs in the service: what `createWriter` does over HTTP, without the way.
 * Refuses ids and collections that are not the source's own. Errors are those of the client, so that one
 * runner serves both.
 */
export function createSourceWriter(dependencies: SourceWriterDeps): Writer {
  const { ingest, actor, prefix, collections } = dependencies
  const none = new AbortController().signal

  function assertOwn(document: DocumentInput): void {
    if (!document.id.startsWith(prefix)) throw invalid('id', `The ids of this source begin with ${prefix}.`)
    if (!collections.includes(document.collection))
      throw invalid('collection', `${document.collection} is no collection of this source.`)
  }

  async function ended(jobId: string, signal = none): Promise<Job> {
    const job = await ingest.waitForJob(jobId, `service:${splitObject(actor.subject).id}`, signal)
    signal.throwIfAborted()
    if (job === undefined) throw new AppError('internal_error', { internal: `There is no job ${jobId}.` })
    return job
  }

  return {
    put: (document, { signal } = {}) =>
      asClient(async () => {
        assertOwn(document)
        const parsed = documentSchema.safeParse(document)
        if (!parsed.success) throw refusedBy(parsed.error)
        const job = await ended(await ingest.put(actor, parsed.data, undefined, signal), signal)
        if (job.state === 'failed' || job.failed > 0) throw failureOf(job)
        return job
      }),
    importAll: (lines, { signal, onAccepted } = {}) =>
      asClient(async () => {
        if (typeof lines === 'function') throw new TypeError('A source imports documents, not a stream.')
        const documents = [...lines]
        for (const document of documents) assertOwn(document)
        const jobId = await ingest.importAll(actor, { body: ndjson(documents), signal })
        onAccepted?.(jobId)
        return ended(jobId, signal)
      }),
    waitFor: (jobId, { signal } = {}) => asClient(() => ended(jobId, signal)),
    async withdraw(id) {
      await asClient(() => dependencies.hideMissing(id))
      return { id: '', state: 'done', done: 1, failed: 0, total: 1, withdrawn: 1, errors: [], notes: [] }
    },
    setAccess: (id, access, { signal } = {}) =>
      asClient(async () => {
        if (!id.startsWith(prefix)) throw invalid('id', `The ids of this source begin with ${prefix}.`)
        const parsed = accessSchema.safeParse(access)
        if (!parsed.success) throw refusedBy(parsed.error)
        // In Postgres first: OpenFGA may take its time.
        if (Object.keys(access).length === 0) await dependencies.hideBroken(id)
        return changed(await ingest.retag(actor, id, parsed.data, signal))
      }),
    changeAccess: (change, { signal } = {}) =>
      asClient(async () => {
        const tuples = changeOf(change, prefix)
        const caller = { kind: 'service', writer: actor, scopes, prefixes: [prefix] } as const
        return changed(await ingest.changeAccess(caller, tuples, signal))
      }),
  }
}

async function* ndjson(documents: readonly DocumentInput[]): AsyncGenerator<Uint8Array> {
  for (const document of documents) yield Buffer.from(`${JSON.stringify(document)}\n`)
}

const changed = (notes: readonly Job['notes'][number][]): AccessChanged => ({ notes, txn: '' })

function refusedBy(error: Parameters<typeof firstIssue>[0]): AppError {
  const { path, says } = firstIssue(error)
  return invalid(path.join('.') || 'body', says)
}

function failureOf(job: Job): WriteFailed {
  const message = job.errors.map(({ code, detail }) => `${code} ${detail}`).join('; ') || 'the job failed'
  return new WriteFailed('write_failed', { message, field: job.errors[0]?.field }, { job })
}

/** The service's refusals as the client has them. What nobody expected stays as it is: it ends the sync. */
async function asClient<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    const { code, status, field } = error
    throw new RemitError(code, { message: error.public ?? error.message, status, field }, {})
  }
}

/** Every object is the source's own: the allow-list knows prefixes of groups alone. */
function changeOf(
  { writes = [], deletes = [] }: AccessChange,
  prefix: string,
): { readonly writes: readonly Tuple[]; readonly deletes: readonly TupleKey[] } {
  const ownObject = (object: string, field: string): FgaObject => {
    const { type, id } = splitObject(object)
    if (!id.startsWith(prefix)) throw invalid(field, `The ids of this source begin with ${prefix}.`)
    if (object === blockedGroup(prefix.slice(0, -1)))
      throw invalid(field, `${object} is kept for the service.`)
    return `${type}:${id}`
  }
  return {
    writes: writes.map(({ user, relation, object, condition }, index) => ({
      user,
      relation,
      object: ownObject(object, `writes.${index}.object`),
      ...(condition !== undefined && { condition: untilOf(condition, `writes.${index}.condition`) }),
    })),
    deletes: deletes.map(({ user, relation, object }, index) => ({
      user,
      relation,
      object: ownObject(object, `deletes.${index}.object`),
    })),
  }
}

function untilOf(condition: object, field: string): z.output<typeof until> {
  const parsed = until.safeParse(condition)
  if (!parsed.success) throw invalid(field, 'Is the condition `until` with expires_at, or none.')
  return parsed.data
}
