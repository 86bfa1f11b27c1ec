import { SourceUnavailable } from '@remit/connector'
import { type RedmineApi, RequestFailed } from './api.ts'
import { readNoIssue } from './items.ts'

/** Redmine fails at one item, or at a part of a list, which says nothing of the others. */
export class ItemRefused extends Error {
  override readonly name = 'ItemRefused'
}

// Seven halvings of a page, and some fifty issues side by side that cannot be read.
const inARowMax = 64
// One that takes a minute counts for more.
const unfinishedCount = 4
// About 280 issues that cannot be read, one here and one there.
const ofListsMax = 2_000
// Of texts that take a minute each. What is left then is not asked for in this reading.
const slowTextsMax = 16

/** Tells what Redmine fails at from a Redmine that fails, in one reading. */
export class Faults {
  readonly #api: RedmineApi
  #inARow = 0
  #ofLists = 0
  #slowTexts = 0

  constructor(api: RedmineApi) {
    this.#api = api
  }

  /**
   * The error of one item. Another request is answered, so that Redmine is there.
   *
   * @throws SourceUnavailable where it is not; the error itself, where it is none of these.
   */
  async ofItem(error: unknown, signal?: AbortSignal): Promise<ItemRefused> {
    if (!(error instanceof RequestFailed)) throw error
    await readNoIssue(this.#api, signal)
    return new ItemRefused(error.message, { cause: error })
  }

  /**
   * The same of a text, which {@link assertInTime} let be asked for.
   *
   * @throws as `ofItem` does.
   */
  async ofText(error: unknown, signal?: AbortSignal): Promise<ItemRefused> {
    if (error instanceof ItemRefused) return error
    if (error instanceof RequestFailed && error.reason === 'unfinished') this.#slowTexts += 1
    return this.ofItem(error, signal)
  }

  /** @throws ItemRefused once so many texts took their time that the reading would hardly end. */
  assertInTime(): void {
    if (this.#slowTexts >= slowTextsMax)
      throw new ItemRefused(`Redmine did not give ${slowTextsMax} other texts in time.`)
  }

  /**
   * The same of a part of a list. Where one after the other fails it is Redmine, whatever else it answers:
   * that ends a reading after at most 64 requests, or 16 that take their time.
   */
  async ofList(error: unknown, signal?: AbortSignal): Promise<ItemRefused> {
    if (!(error instanceof RequestFailed)) throw error
    const isFirst = this.#inARow === 0
    this.#inARow += error.reason === 'unfinished' ? unfinishedCount : 1
    this.#ofLists += 1
    if (this.#inARow > inARowMax || this.#ofLists > ofListsMax)
      throw new SourceUnavailable(`${error.message} It fails for too much of what it lists.`, {
        cause: error,
      })
    return isFirst ? this.ofItem(error, signal) : new ItemRefused(error.message, { cause: error })
  }

  /** A part of a list came. */
  listed(): void {
    this.#inARow = 0
  }
}
