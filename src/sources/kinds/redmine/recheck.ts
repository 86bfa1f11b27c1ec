import { SourceUnavailable } from '@remit/connector'
import { createSerialQueue } from '../../../kernel/serial-queue.ts'
import type { RedmineApi } from './api.ts'
import { readWiki, type WikiPage } from './items.ts'
import { type Rights, type RightsOptions, readRights } from './rights.ts'

export interface RecheckDeps {
  readonly api: RedmineApi
  /** ms; where an answer has no date of its own. */
  readonly now: () => number
}

/**
 * Whether what was told of who sees what was so when texts were read: it is read again after them, once for
 * all texts that were read by then. Two readings that are the same hold for any moment between them, but for
 * what somebody changed and changed back meanwhile.
 */
export class Recheck {
  readonly #deps: RecheckDeps
  readonly #told: Rights
  readonly #options: RightsOptions
  readonly #queue = createSerialQueue()
  /** Counts texts and checks, to say what came after what. */
  #count = 0
  /** How far the count was when the last check began, and when it had ended. */
  #began = -1
  #ended = -1
  readonly #wikis = new Map<number, { readonly at: number; readonly pages: readonly WikiPage[] }>()

  constructor(rights: Rights, options: RightsOptions, dependencies: RecheckDeps) {
    this.#told = rights
    this.#options = options
    this.#deps = dependencies
  }

  /** Notes that a text was read by now. */
  textRead(): number {
    this.#count += 1
    return this.#count
  }

  /**
   * Reads the rights again, unless that began after the text already. Default: any text, or none.
   *
   * @throws SourceUnavailable where they are others: the reading ends, and the next one begins with them.
   */
  rights(textReadAt = 0, signal?: AbortSignal): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#began >= textReadAt) return
      const began = this.#count
      const { text } = await readRights(this.#deps.api, this.#options, signal)
      if (text !== this.#told.text)
        throw new SourceUnavailable('Who sees what changed in Redmine while it was read.')
      this.#began = began
      this.#count += 1
      this.#ended = this.#count
    })
  }

  /** The pages of a project's wiki as they were listed after the last check of the rights. */
  wiki(project: number, signal?: AbortSignal): Promise<readonly WikiPage[]> {
    return this.#queue.run(async () => {
      const knownWiki = this.#wikis.get(project)
      if (knownWiki !== undefined && knownWiki.at >= this.#ended) return knownWiki.pages
      const at = this.#count
      const pages = await readWiki(this.#deps.api, project, { now: this.#deps.now, signal })
      this.#wikis.set(project, { at, pages })
      return pages
    })
  }
}
