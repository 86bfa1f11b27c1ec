/** What a sync remembers from run to run. */
export interface SyncState {
  load(): Promise<SyncMemory>
  /** Resolves once the update would survive the end of the process. */
  apply(update: SyncUpdate): Promise<void>
}

/** All of it, as it was last written. */
export interface SyncMemory {
  /** Undefined: everything is read. */
  readonly cursor: string | undefined
  /** Ids that may be in Remit. */
  readonly known: ReadonlySet<string>
  /** Ids whose last change is not known to be in: begun and not ended, or failed. */
  readonly unsettled: ReadonlySet<string>
  /**
   * Id → who may read it: as the source said it, and what that came to. Of each that was settled and may be
   * read.
   */
  readonly accesses: ReadonlyMap<string, string>
  /** Tuples that may be written, as text → whether they are known to be. */
  readonly tuples: ReadonlyMap<string, boolean>
  /** Up to where a reading of everything has come that has not ended. Undefined: to nowhere. */
  readonly crawlCursor: string | undefined
  /** Ids that it has told by then, and not as gone since. */
  readonly told: ReadonlySet<string>
  /** Ids that were brought in since it began → which version. */
  readonly brought: ReadonlyMap<string, string>
}

/** A change of it. Each member adds to, or takes from, what is remembered. */
export interface SyncUpdate {
  /** `null` forgets it. */
  readonly cursor?: string | null
  /** Will be written: known and unsettled from now on. */
  readonly begun?: readonly string[]
  /** In Remit as the source has it. */
  readonly settled?: readonly string[]
  /** The same, by what was read of it before: what it confirms is no younger. */
  readonly resettled?: readonly string[]
  /** Gone from Remit. */
  readonly forgotten?: readonly string[]
  /** Ids with what {@link SyncMemory.accesses} holds of them from now on; `null`: nothing. */
  readonly accesses?: readonly (readonly [id: string, access: string | null])[]
  /** `null`: the reading of everything is over, or begins anew: what it told and brought is forgotten. */
  readonly crawlCursor?: string | null
  readonly told?: readonly string[]
  readonly brought?: readonly (readonly [id: string, version: string])[]
  readonly tuplesBegun?: readonly string[]
  readonly tuplesSettled?: readonly string[]
  readonly tuplesForgotten?: readonly string[]
}

/** A memory that updates are applied to. */
export class SyncMemories {
  cursor: string | undefined
  readonly known = new Set<string>()
  readonly unsettled = new Set<string>()
  readonly accesses = new Map<string, string>()
  readonly tuples = new Map<string, boolean>()
  crawlCursor: string | undefined
  readonly told = new Set<string>()
  readonly brought = new Map<string, string>()

  apply(update: SyncUpdate): void {
    if (update.cursor !== undefined) this.cursor = update.cursor ?? undefined
    for (const id of update.begun ?? []) {
      this.known.add(id)
      this.unsettled.add(id)
    }
    for (const id of [...(update.settled ?? []), ...(update.resettled ?? [])]) this.unsettled.delete(id)
    for (const id of update.forgotten ?? []) {
      this.known.delete(id)
      this.unsettled.delete(id)
      this.accesses.delete(id)
      this.told.delete(id)
      this.brought.delete(id)
    }
    for (const [id, access] of update.accesses ?? [])
      if (access === null) this.accesses.delete(id)
      else this.accesses.set(id, access)
    if (update.crawlCursor !== undefined) this.crawlCursor = update.crawlCursor ?? undefined
    if (update.crawlCursor === null) {
      this.told.clear()
      this.brought.clear()
    }
    for (const id of update.told ?? []) this.told.add(id)
    for (const [id, version] of update.brought ?? []) this.brought.set(id, version)
    for (const tuple of update.tuplesBegun ?? []) this.tuples.set(tuple, false)
    for (const tuple of update.tuplesSettled ?? []) this.tuples.set(tuple, true)
    for (const tuple of update.tuplesForgotten ?? []) this.tuples.delete(tuple)
  }

  /** One update that makes an empty memory this one. */
  whole(): SyncUpdate {
    const isUnsettled = (id: string) => this.unsettled.has(id)
    const knownEntries = [...this.known]
    return {
      ...(this.cursor !== undefined && { cursor: this.cursor }),
      begun: knownEntries,
      settled: knownEntries.filter((id) => !isUnsettled(id)),
      accesses: [...this.accesses],
      ...(this.crawlCursor !== undefined && { crawlCursor: this.crawlCursor }),
      told: [...this.told],
      brought: [...this.brought],
      tuplesBegun: [...this.tuples.keys()],
      tuplesSettled: [...this.tuples].filter(([, isSettled]) => isSettled).map(([tuple]) => tuple),
    }
  }
}

/** A state that ends with the process: for tests, and for a source that is brought once. */
export function memoryState(): SyncState {
  const memory = new SyncMemories()
  return {
    load: async () => memory,
    apply: async (update) => memory.apply(update),
  }
}
