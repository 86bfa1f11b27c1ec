import { SyncMemories, type SyncState, type SyncUpdate } from './state.ts'

/** A state with what it remembers at hand. */
export class Journal {
  readonly memory = new SyncMemories()
  readonly #state: SyncState

  private constructor(state: SyncState) {
    this.#state = state
  }

  static async open(state: SyncState): Promise<Journal> {
    const journal = new Journal(state)
    const loaded = await state.load()
    const { cursor, known: knownVersions, unsettled, accesses, tuples } = loaded
    journal.memory.cursor = cursor
    journal.memory.crawlCursor = loaded.crawlCursor
    for (const id of loaded.told) journal.memory.told.add(id)
    for (const [id, version] of loaded.brought) journal.memory.brought.set(id, version)
    for (const id of knownVersions) journal.memory.known.add(id)
    for (const id of unsettled) journal.memory.unsettled.add(id)
    for (const [id, access] of accesses) journal.memory.accesses.set(id, access)
    for (const [tuple, isSettled] of tuples) journal.memory.tuples.set(tuple, isSettled)
    return journal
  }

  /** Written through first: what is at hand is never ahead of what a new process would know. */
  async write(update: SyncUpdate): Promise<void> {
    await this.#state.apply(update)
    this.memory.apply(update)
  }
}
