import { type DocumentAccess, type DocumentInput, isRemitError, type Job, type Writer } from '@remit/client'
import { isId } from '@remit/contract/is-id'
import { endsSync, itemsNow, problemOf } from './failure.ts'
import { notAnId } from './ids.ts'
import type { Journal } from './journal.ts'
import { People } from './people.ts'
import { remembered, remembering } from './remembered.ts'
import {
  type BrokenItem,
  type Change,
  type ItemChange,
  type LoadedItem,
  type Source,
  type SourceAccess,
  SourceUnavailable,
} from './source.ts'
import type { DirectorySync, ItemAccess } from './sync-directory.ts'

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
  /** Undefined: the source has no accounts and no folders of its own. */
  readonly directory: DirectorySync | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: (doneCount: number) => void
  /** Milliseconds of any clock that does not go back. */
  readonly now: () => number
}

// Of one import, whichever is reached first. A source that is slow to load brings in what it has: what is not
// in when the process is killed is loaded again.
const linesMax = 250
const charactersMax = 8_000_000
const waitMsMax = 10_000
const loadsAtOnce = 4
// What the directory takes away after the items waits for them no longer.
const lateMsMax = 10_000

/** Brings changes of items into Remit: one at a time, whatever becomes of the others. */
export class ItemSync {
  imported = 0
  /** Items whose access changed without them. */
  reapplied = 0
  withdrawn = 0
  /** Items below folders that move: hidden until {@link DirectorySync.finish}, then to be brought. */
  readonly postponed = new Set<string>()
  /** What was unsettled when this began, and was not told since. */
  readonly untried: Set<string>
  readonly #failed = new Map<string, FailedItem>()
  readonly #nobody = new People()
  readonly #deps: ItemsDeps
  readonly #beganAt: number
  #isLateHidden = false

  constructor(dependencies: ItemsDeps) {
    this.#deps = dependencies
    this.#beganAt = dependencies.now()
    this.untried = new Set(dependencies.journal.memory.unsettled)
  }

  /** Each item once, as it was dealt with last. */
  get failed(): readonly FailedItem[] {
    return [...this.#failed.values()]
  }

  /**
   * Whatever takes access away goes first. Of one item the last change counts. A reading of everything passes
   * over what it has brought in already, before it was killed.
   */
  async bring(allChanges: readonly Change[]): Promise<void> {
    const all = lastOfEach(allChanges.flatMap(sayable))
    for (const { id } of all) if (id !== undefined) this.untried.delete(id)
    const changes = all.filter((change) => !this.#isIn(change))
    this.imported += all.length - changes.length
    for (const change of changes)
      if (change.kind === 'deleted') {
        await this.withdraw(change.id)
        await this.hideOverdue()
      }
    const ids = changes.flatMap((change) =>
      change.kind === 'deleted' || change.id === undefined ? [] : [change.id],
    )
    // Before anything is written: a process that ends meanwhile leaves nothing that nobody remembers.
    if (ids.length > 0) await this.#deps.journal.write({ begun: ids })
    for (const change of changes)
      if (change.kind === 'broken') {
        await this.#fail(change)
        await this.hideOverdue()
      }
    await this.#import(changes.filter((change) => change.kind === 'item'))
  }

  #isIn(change: Change): boolean {
    const { brought, unsettled, accesses } = this.#deps.journal.memory
    return (
      change.kind === 'item' &&
      brought.get(change.id) === change.version &&
      !unsettled.has(change.id) &&
      accesses.has(change.id)
    )
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

  /**
   * Gives items the access that they come to now, where that changed without them: an account is somebody
   * else, or a folder above cannot be said any more. Those that are not settled are hidden instead, and
   * brought later.
   */
  async reapply(): Promise<void> {
    const { journal } = this.#deps
    for (const [id, entry] of [...journal.memory.accesses]) {
      const { said, applied } = remembered(entry)
      const now = this.#accessOf(said)
      if (now.kind === 'hidden') {
        if (!this.#failed.has(id))
          await this.#unsettle({ kind: 'broken', id, name: id, problem: now.problem })
      } else if (journal.memory.unsettled.has(id)) {
        // What was written last is not known: a process may have ended before it noted it.
        await this.#postpone(id)
      } else if (JSON.stringify(now.access) !== JSON.stringify(applied)) {
        if (now.kind === 'later') await this.#postpone(id)
        else await this.#setAccess(id, said, now.access)
      }
    }
  }

  /** Hides what {@link DirectorySync.finish} is about to touch, until it has. */
  async hideLate(): Promise<void> {
    this.#isLateHidden = true
    for (const id of [...this.#deps.journal.memory.accesses.keys()])
      if (this.#isLate(id)) await this.#postpone(id)
  }

  #isLate(id: string): boolean {
    const entry = this.#deps.journal.memory.accesses.get(id)
    return entry !== undefined && this.#accessOf(remembered(entry).said).kind === 'later'
  }

  /** The same once the items take longer than anybody should still be let read. */
  async hideOverdue(): Promise<void> {
    const { directory, now } = this.#deps
    if (this.#isLateHidden || directory === undefined || now() - this.#beganAt < lateMsMax) return
    await this.hideLate()
  }

  /** Waits for it, and hides meanwhile what is late once that takes too long. */
  async meanwhile<T>(work: Promise<T>): Promise<T> {
    if (this.#isLateHidden || this.#deps.directory === undefined) return await work
    const leftMs = lateMsMax - (this.#deps.now() - this.#beganAt)
    let timer: NodeJS.Timeout | undefined
    const isLate = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(true), Math.max(0, leftMs))
    })
    const ended = work.then(
      () => false,
      () => false,
    )
    try {
      if (await Promise.race([ended, isLate])) await this.hideLate()
    } finally {
      clearTimeout(timer)
      // None goes on into a later sync.
      await ended
    }
    return await work
  }

  /** Each of them. What is late is hidden while one is waited for. */
  async *each<T>(values: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = values[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.meanwhile(iterator.next())
        if (next.done === true) return
        yield next.value
      }
    } finally {
      await iterator.return?.()
    }
  }

  #accessOf(access: SourceAccess): ItemAccess {
    const { directory } = this.#deps
    if (directory !== undefined) return directory.accessOf(access)
    const said = this.#nobody.access(access)
    return said.ok ? { kind: 'said', access: said.value } : { kind: 'hidden', problem: said.problem }
  }

  async #setAccess(id: string, said: SourceAccess, applied: DocumentAccess): Promise<void> {
    const { writer, journal, signal } = this.#deps
    // Before it is written: whom a process that ends meanwhile let read is asked for anew.
    await journal.write({ begun: [id] })
    try {
      await writer.setAccess(id, applied, { signal })
    } catch (error) {
      if (endsSync(error, signal)) throw error
      await this.#fail({ kind: 'broken', id, name: id, problem: problemOf(error) })
      return
    }
    await journal.write({ resettled: [id], accesses: [[id, remembering(said, applied)]] })
    this.reapplied += 1
  }

  /** Before it is hidden: a process that ends meanwhile brings it again. */
  async #unsettle(item: BrokenItem & { readonly id: string }): Promise<void> {
    await this.#deps.journal.write({ begun: [item.id] })
    await this.#fail(item)
  }

  async #postpone(id: string): Promise<void> {
    await this.#deps.journal.write({ begun: [id] })
    this.postponed.add(id)
    const refusal = await this.#hide(id)
    if (refusal !== undefined)
      this.#failed.set(id, { id, name: id, problem: `It could not be hidden: ${refusal}`, isHidden: false })
  }

  /** `isAgain`: each of them was another one while it was read. */
  async #import(changes: readonly ItemChange[], isAgain = false): Promise<void> {
    const { now } = this.#deps
    let batch: Loaded[] = []
    let characters = 0
    let beganAt = now()
    const flush = async (): Promise<void> => {
      await this.#importBatch(batch)
      batch = []
      characters = 0
      beganAt = now()
    }
    const changedIds: string[] = []
    for (let offset = 0; offset < changes.length; offset += loadsAtOnce) {
      const group = changes.slice(offset, offset + loadsAtOnce)
      const all = await this.meanwhile(allEnded(group.map((one) => this.#load(one))))
      for (const [index, loaded] of all.entries()) {
        const change = group[index]
        if (change === undefined || loaded === undefined) continue
        if (loaded !== 'changed') {
          batch.push({ ...loaded, item: change })
          characters += (loaded.document.text ?? loaded.document.content_base64 ?? '').length
        } else if (isAgain) await this.#fail(brokenOf(change, 'It changed twice while it was read.'))
        else changedIds.push(change.id)
      }
      if (batch.length >= linesMax || characters >= charactersMax || now() - beganAt >= waitMsMax)
        await flush()
      await this.hideOverdue()
    }
    await flush()
    await this.#importAgain(changedIds)
  }

  async #importAgain(ids: readonly string[]): Promise<void> {
    const { source, signal } = this.#deps
    const items: ItemChange[] = []
    for await (const change of this.each(itemsNow(source, ids, signal)))
      if (change.kind === 'item') items.push(change)
      else if (change.kind === 'deleted') await this.withdraw(change.id)
      else await this.#fail(change)
    if (items.length > 0) await this.#import(items, true)
  }

  /**
   * The document of an item; undefined where it has none, which is dealt with; `changed`: it is another one
   * than was told.
   */
  async #load(change: ItemChange): Promise<Omit<Loaded, 'item'> | 'changed' | undefined> {
    const { signal } = this.#deps
    const { id, content, access, version } = change
    // Nothing is fetched that nobody could read.
    const listed = await this.#sayable(change, access)
    if (listed === undefined) return undefined
    if (typeof content !== 'function') return { said: access, document: { ...content, id, access: listed } }
    let loaded: LoadedItem
    try {
      loaded = await content(signal)
    } catch (error) {
      if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
      await this.#fail(brokenOf(change, problemOf(error)))
      return undefined
    }
    if (loaded.version !== version) return 'changed'
    const said = await this.#sayable(change, loaded.access)
    const { stillHolds } = loaded
    return (
      said && {
        said: loaded.access,
        document: { ...loaded.content, id, access: said },
        ...(stillHolds !== undefined && { stillHolds }),
      }
    )
  }

  /** What its access comes to; undefined where it is hidden, or comes later, which is dealt with. */
  async #sayable(change: ItemChange, access: SourceAccess): Promise<DocumentAccess | undefined> {
    const outcome = this.#accessOf(access)
    if (outcome.kind === 'said') return outcome.access
    if (outcome.kind === 'hidden') await this.#fail(brokenOf(change, outcome.problem))
    else await this.#postpone(change.id)
    return undefined
  }

  async #importBatch(batch: readonly Loaded[]): Promise<void> {
    if (batch.length === 0) return
    const { journal, signal } = this.#deps
    // Before it waits for its turn, and never beside it: it comes back with what is brought now.
    for (const { item } of batch) if (this.#isLate(item.id)) await this.#hide(item.id)
    for (const stillHolds of new Set(batch.map((loaded) => loaded.stillHolds)))
      if (stillHolds !== undefined) await this.meanwhile(stillHolds(signal))
    const job = await this.meanwhile(this.#tryImport(batch.map(({ document }) => document)))
    const problems = new Map(job?.errors.map(({ line, code, detail }) => [line, `${code}: ${detail}`]))
    // The service names no more than some of them, and none where the whole was refused.
    const isExact =
      job !== undefined &&
      job.failed === job.errors.length &&
      job.errors.every(({ line }) => line !== undefined)
    const settledIds: string[] = []
    const accesses: [string, string][] = []
    const brought: [string, string][] = []
    for (const [index, { item: change, document, said }] of batch.entries()) {
      const problem =
        problems.get(index + 1) ?? (isExact ? undefined : await this.meanwhile(this.#tryPut(document)))
      if (problem === undefined) {
        settledIds.push(change.id)
        accesses.push([change.id, remembering(said, document.access)])
        brought.push([change.id, change.version])
        this.#failed.delete(change.id)
      } else await this.#fail(brokenOf(change, problem))
    }
    const isCrawl = journal.memory.cursor === undefined
    await journal.write({ settled: settledIds, accesses, ...(isCrawl && { brought }) })
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
    // Nothing else is named so.
    this.#failed.set(id ?? `\0${name}`, {
      ...(id !== undefined && { id }),
      name,
      problem: refusal === undefined ? problem : `${problem} It could not be hidden: ${refusal}`,
      isHidden: refusal === undefined,
    })
    this.#progress()
  }

  async #hide(id: string): Promise<string | undefined> {
    const { writer, journal, signal } = this.#deps
    try {
      await writer.setAccess(id, {}, { signal })
    } catch (error) {
      if (!isRemitError(error, 'not_found')) {
        if (endsSync(error, signal)) throw error
        return problemOf(error)
      }
    }
    if (journal.memory.accesses.has(id)) await journal.write({ accesses: [[id, null]] })
    return undefined
  }

  #progress(): void {
    this.#deps.onProgress(this.imported + this.withdrawn + this.#failed.size)
  }
}

/** An item that is about to be brought. */
interface Loaded {
  readonly item: ItemChange
  /** Who may read it, in the words of the source. */
  readonly said: SourceAccess
  readonly document: DocumentInput & { readonly access: DocumentAccess }
  readonly stillHolds?: NonNullable<LoadedItem['stillHolds']>
}

/** Like `Promise.all`, but waits for the others before it throws: none goes on into a later sync. */
async function allEnded<T>(promises: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(promises)
  return await Promise.all(promises)
}

const brokenOf = ({ id, name = id }: ItemChange, problem: string): BrokenItem => ({
  kind: 'broken',
  id,
  name,
  problem,
})

/** What has an id that is none in Remit was never there, and is told without it. */
function sayable(change: Change): readonly Change[] {
  const { id } = change
  if (id === undefined || isId(id)) return [change]
  if (change.kind === 'deleted') return []
  return [{ kind: 'broken', name: change.name ?? id, problem: notAnId(id) }]
}

function lastOfEach(changes: readonly Change[]): readonly Change[] {
  const lastIndexes = new Map(changes.map((change, index) => [change.id, index]))
  return changes.filter((change, index) => change.id === undefined || lastIndexes.get(change.id) === index)
}
