import { type DocumentInput, isRemitError, type Job, type Writer } from '@remit/client'
import { endsSync, problemOf } from './failure.ts'
import type { Journal } from './journal.ts'
import {
  type BrokenItem,
  type Change,
  type ItemChange,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from './source.ts'

/** An item that was not brought. Nobody reads it, not even as it was before, unless `isHidden` is false. */
export interface FailedItem {
  readonly id?: string
  readonly name: string
  readonly problem: string
  /** False: the service refused to hide it as well. */
  readonly isHidden: boolean
}

/** What `ItemSync` needs. `onProgress` gets the count of items so far. */
export interface ItemsDeps {
  readonly source: Source
  readonly writer: Writer
  readonly journal: Journal
  readonly signal: AbortSignal | undefined
  readonly onProgress: (doneCount: number) => void
}

// Of one import, whichever is reached first.
const linesMax = 250
const charactersMax = 8_000_000
const loadsAtOnce = 4

/** Brings changes of items into Remit: one at a time, whatever becomes of the others. */
export class ItemSync {
  imported = 0
  withdrawn = 0
  readonly #failed = new Map<string, FailedItem>()
  readonly #deps: ItemsDeps

  constructor(dependencies: ItemsDeps) {
    this.#deps = dependencies
  }

  /** Each item once, as it was dealt with last. */
  get failed(): readonly FailedItem[] {
    return [...this.#failed.values()]
  }

  /** Whatever takes access away goes first. Of one item the last change counts. */
  async bring(allChanges: readonly Change[]): Promise<void> {
    const changes = lastOfEach(allChanges)
    for (const change of changes) if (change.kind === 'deleted') await this.withdraw(change.id)
    const ids = changes.flatMap((change) =>
      change.kind === 'deleted' || change.id === undefined ? [] : [change.id],
    )
    // Before anything is written: a process that ends meanwhile leaves nothing that nobody remembers.
    if (ids.length > 0) await this.#deps.journal.write({ begun: ids })
    for (const change of changes) if (change.kind === 'broken') await this.#fail(change)
    await this.#import(changes.filter((change) => change.kind === 'item'))
  }

  /** Takes an item out of Remit. One that is not there is out. */
  async withdraw(id: string): Promise<void> {
    const { writer, journal, signal } = this.#deps
    try {
      await writer.withdraw(id, { signal })
    } catch (error) {
      if (!isRemitError(error, 'not_found')) {
        if (endsSync(error, signal)) throw error
        await journal.write({ begun: [id] })
        await this.#fail({
          kind: 'broken',
          id,
          name: id,
          problem: `It is gone, and stays: ${problemOf(error)}`,
        })
        return
      }
    }
    await journal.write({ forgotten: [id] })
    this.#failed.delete(id)
    this.withdrawn += 1
    this.#progress()
  }

  async #import(changes: readonly ItemChange[]): Promise<void> {
    let batch: { item: ItemChange; document: DocumentInput }[] = []
    let characters = 0
    const flush = async (): Promise<void> => {
      await this.#importBatch(batch)
      batch = []
      characters = 0
    }
    for (let offset = 0; offset < changes.length; offset += loadsAtOnce) {
      const group = changes.slice(offset, offset + loadsAtOnce)
      const loaded = await Promise.all(group.map((change) => this.#load(change)))
      for (const [index, change] of group.entries()) {
        const document = loaded[index]
        if (document === undefined) continue
        batch.push({ item: change, document })
        characters += (document.text ?? document.content_base64 ?? '').length
        if (batch.length >= linesMax || characters >= charactersMax) await flush()
      }
    }
    await flush()
  }

  /** The document of an item; undefined where it has none, which is dealt with. */
  async #load(change: ItemChange, isAgain = false): Promise<DocumentInput | undefined> {
    const { source, signal } = this.#deps
    const { id, content, access, version } = change
    if (typeof content !== 'function') return documentOf(id, { version, content, access })
    let loaded: LoadedItem
    try {
      loaded = await content(signal)
    } catch (error) {
      if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
      await this.#fail(brokenOf(change, problemOf(error)))
      return undefined
    }
    if (loaded.version === version) return documentOf(id, loaded)
    if (isAgain) {
      await this.#fail(brokenOf(change, 'It changed twice while it was read.'))
      return undefined
    }
    const now = await source.item(id, signal)
    if (now.kind === 'item') return this.#load(now, true)
    if (now.kind === 'deleted') await this.withdraw(id)
    else await this.#fail(now)
    return undefined
  }

  async #importBatch(batch: readonly { item: ItemChange; document: DocumentInput }[]): Promise<void> {
    if (batch.length === 0) return
    const job = await this.#tryImport(batch.map(({ document }) => document))
    const problems = new Map(job?.errors.map(({ line, code, detail }) => [line, `${code}: ${detail}`]))
    // The service names no more than some of them, and none where the whole was refused.
    const isExact =
      job !== undefined &&
      job.failed === job.errors.length &&
      job.errors.every(({ line }) => line !== undefined)
    const settledIds: string[] = []
    for (const [index, { item: change, document }] of batch.entries()) {
      const problem = problems.get(index + 1) ?? (isExact ? undefined : await this.#tryPut(document))
      if (problem === undefined) {
        settledIds.push(change.id)
        this.#failed.delete(change.id)
      } else await this.#fail(brokenOf(change, problem))
    }
    await this.#deps.journal.write({ settled: settledIds })
    this.imported += settledIds.length
    this.#progress()
  }

  async #tryImport(documents: readonly DocumentInput[]): Promise<Job | undefined> {
    const { writer, signal } = this.#deps
    try {
      return await writer.importAll(documents, { signal })
    } catch (error) {
      if (endsSync(error, signal)) throw error
      return undefined
    }
  }

  /** What is wrong with it, if anything. */
  async #tryPut(document: DocumentInput): Promise<string | undefined> {
    const { writer, signal } = this.#deps
    try {
      await writer.put(document, { signal })
      return undefined
    } catch (error) {
      if (endsSync(error, signal)) throw error
      return problemOf(error)
    }
  }

  /**
   * Names an item, and takes its readers away: what it was before may be what nobody should read any more.
   */
  async #fail({ id, name, problem }: BrokenItem): Promise<void> {
    const refusal = id === undefined ? undefined : await this.#hide(id)
    this.#failed.set(id ?? name, {
      ...(id !== undefined && { id }),
      name,
      problem: refusal === undefined ? problem : `${problem} It could not be hidden: ${refusal}`,
      isHidden: refusal === undefined,
    })
    this.#progress()
  }

  async #hide(id: string): Promise<string | undefined> {
    const { writer, signal } = this.#deps
    try {
      await writer.setAccess(id, {}, { signal })
      return undefined
    } catch (error) {
      if (isRemitError(error, 'not_found')) return undefined
      if (endsSync(error, signal)) throw error
      return problemOf(error)
    }
  }

  #progress(): void {
    this.#deps.onProgress(this.imported + this.withdrawn + this.#failed.size)
  }
}

const documentOf = (id: string, { content, access }: LoadedItem): DocumentInput => ({
  ...content,
  id,
  access,
})

const brokenOf = ({ id, name = id }: ItemChange, problem: string): BrokenItem => ({
  kind: 'broken',
  id,
  name,
  problem,
})

function lastOfEach(changes: readonly Change[]): readonly Change[] {
  const lastIndexes = new Map(changes.map((change, index) => [change.id, index]))
  return changes.filter((change, index) => change.id === undefined || lastIndexes.get(change.id) === index)
}
