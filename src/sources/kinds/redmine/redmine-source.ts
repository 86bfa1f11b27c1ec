import type {
  BrokenItem,
  Change,
  ChangePage,
  Directory,
  ItemChange,
  ItemContent,
  LoadedItem,
  Source,
  SourceAccess,
} from '@remit/connector'
import { cursorOf, digestOf, readCursor } from './cursor.ts'
import { Faults, ItemRefused } from './faults.ts'
import { readIssue, readWiki, readWikiText, type WikiPage } from './items.ts'
import { listIssues } from './listing.ts'
import { Mapping } from './mapping.ts'
import { type KnownAccounts, knownAccounts, type Person } from './people.ts'
import { Recheck, type RecheckDeps } from './recheck.ts'
import { type Rights, type RightsOptions, readRights } from './rights.ts'
import {
  contentOfIssue,
  contentOfPage,
  issueOf,
  nameOf,
  projectOf,
  type Row,
  rowOfIssue,
  rowOfPage,
  type UnreadPart,
  unreadIssues,
  unreadWiki,
} from './rows.ts'

/** A Redmine, of which everybody reads what it shows them. */
export interface RedmineOptions extends RightsOptions {
  /** Its address, without a slash at its end. */
  readonly url: string
  readonly collection: string
  /** Put before each id. */
  readonly prefix: string
  readonly people: readonly Person[]
}

/** What a directory told, and what items are held against until the next one. */
interface Told {
  readonly rights: Rights
  readonly matched: KnownAccounts
  readonly mapping: Mapping
  readonly recheck: Recheck
  readonly faults: Faults
  /** Wikis whose list failed. */
  readonly failedWikis: Map<number, ItemRefused>
}

/** Rows, of about `total`, or what of the lists cannot be read. */
type Part = { readonly kind: 'rows'; readonly rows: readonly Row[]; readonly total: number } | UnreadPart

/** Of an item that is broken: it is told until it is not. */
const brokenVersion = ''
// Texts of a page are in memory at once, and its cursor holds the versions of all items: few pages keep what
// is written small.
const textsMin = 100
const pagesMax = 20

/**
 * The issues and wiki pages of a Redmine as a source, and its accounts, roles and projects as the directory.
 * `directory` has to come before `changes` and `item`, each time: who may read an item is what was told then.
 * Each reading lists all items. Of what is to be brought the text is read first; then all that decides who
 * sees what, which has to be what was told; then, of a page, the list of its wiki. An issue is one row, which
 * holds its text beside its project, author and privacy: these are of one moment.
 */
export function createRedmineSource(
  options: RedmineOptions,
  dependencies: RecheckDeps,
): Source & Required<Pick<Source, 'directory'>> {
  const redmine = new RedmineSource(options, dependencies)
  // An object of its own members: one that wraps it copies them.
  return {
    directory: (signal) => redmine.directory(signal),
    changes: (cursor, signal) => redmine.changes(cursor, signal),
    item: (id, signal) => redmine.item(id, signal),
  }
}

class RedmineSource {
  readonly #options: RedmineOptions
  readonly #deps: RecheckDeps
  #last: Told | undefined

  constructor(options: RedmineOptions, dependencies: RecheckDeps) {
    this.#options = options
    this.#deps = dependencies
  }

  async directory(signal?: AbortSignal): Promise<Directory> {
    this.#last = undefined
    const { api } = this.#deps
    const rights = await readRights(api, this.#options, signal)
    const matched = knownAccounts(this.#options.people, rights)
    const mapping = new Mapping(rights, matched.accounts, this.#options)
    const recheck = new Recheck(rights, this.#options, this.#deps)
    this.#last = { rights, matched, mapping, recheck, faults: new Faults(api), failedWikis: new Map() }
    return mapping.directory
  }

  /** The cursor holds the version of each item, and by which rights all of them were brought. */
  async *changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    const { rights, matched, mapping, recheck } = this.#told
    const before = readCursor(cursor)
    const versions = new Map(before.versions)
    const listedIds = new Set<string>()
    let changes: Change[] = matched.problems.map(asBroken)
    for await (const part of this.#parts(signal)) {
      if (part.kind === 'broken') {
        // Told until it can be read. Nothing in it is gone.
        for (const id of [...versions.keys()].filter(part.covers)) {
          versions.set(id, brokenVersion)
          listedIds.add(id)
        }
        changes.push(part)
        continue
      }
      const { rows, total } = part
      for (const { id } of rows) listedIds.add(id)
      changes.push(...(await this.#changed(rows, versions, signal)))
      if (changes.length < Math.max(textsMin, total / pagesMax)) continue
      yield { changes, cursor: cursorOf('', versions), isLast: false }
      changes = []
    }
    const deleted = [...versions.keys()].filter((id) => !listedIds.has(id))
    for (const id of deleted) versions.delete(id)
    const digest = digestOf([rights.text, matched])
    // Rights that never were there at one moment give nobody anything.
    if (before.rights !== digest || changes.length > 0) await recheck.rights(recheck.textRead(), signal)
    yield {
      // What is not known of a role may show in one's own issues alone: all of them were looked at by now.
      changes: [
        ...deleted.map((id) => ({ kind: 'deleted' as const, id })),
        ...changes,
        ...mapping.problems.map(asBroken),
      ],
      cursor: cursorOf(digest, versions),
      isLast: true,
    }
  }

  async item(id: string, signal?: AbortSignal): Promise<Change> {
    const row = await this.#row(id, signal)
    if (row === undefined) return { kind: 'deleted', id }
    return await this.#withText(row, this.#listed(row), signal)
  }

  get #told(): Told {
    if (this.#last === undefined) throw new Error('The directory of a Redmine comes before its items.')
    return this.#last
  }

  /** Everything that there is. */
  async *#parts(signal: AbortSignal | undefined): AsyncGenerator<Part> {
    const { api, now } = this.#deps
    const { prefix } = this.#options
    const { rights, faults } = this.#told
    let total = 0
    for await (const part of listIssues({ api, faults, signal })) {
      if (part.kind === 'gap') {
        yield unreadIssues(prefix, part)
        continue
      }
      total = Math.max(total, part.total)
      yield { kind: 'rows', rows: part.issues.map((issue) => rowOfIssue(prefix, issue)), total }
    }
    for (const { id, hasWiki } of rights.projects.values()) {
      if (!hasWiki) continue
      const pages = await this.#ofWiki(id, () => readWiki(api, id, { now, signal }), signal)
      if (pages instanceof ItemRefused) {
        yield unreadWiki(prefix, id, pages.message)
        continue
      }
      total += pages.length
      for (let offset = 0; offset < pages.length; offset += textsMin) {
        const some = pages.slice(offset, offset + textsMin)
        yield { kind: 'rows', rows: some.map((page) => rowOfPage(prefix, page)), total }
      }
    }
  }

  /** A list of a wiki. One that fails is not asked for again in this reading. */
  async #ofWiki(
    project: number,
    read: () => Promise<readonly WikiPage[]>,
    signal: AbortSignal | undefined,
  ): Promise<readonly WikiPage[] | ItemRefused> {
    const { faults, failedWikis } = this.#told
    const failed = failedWikis.get(project)
    if (failed !== undefined) return failed
    return await read().catch(async (error: unknown) => {
      const refusal = await faults.ofItem(error, signal)
      failedWikis.set(project, refusal)
      return refusal
    })
  }

  /** @throws ItemRefused where Redmine fails at this one. */
  async #row(id: string, signal: AbortSignal | undefined): Promise<Row | undefined> {
    const { api, now } = this.#deps
    const { prefix } = this.#options
    const number = issueOf(prefix, id)
    if (number !== undefined) {
      const issue = await readIssue(api, number, signal).catch(async (error: unknown) => {
        throw await this.#told.faults.ofItem(error, signal)
      })
      return issue && rowOfIssue(prefix, issue)
    }
    const project = projectOf(prefix, id)
    if (project === undefined) return undefined
    const pages = await this.#ofWiki(project, () => readWiki(api, project, { now, signal }), signal)
    if (pages instanceof ItemRefused) throw pages
    return pages.map((page) => rowOfPage(prefix, page)).find((row) => row.id === id)
  }

  /** Those that are other than in `versions`, which is brought up to date. */
  async #changed(
    rows: readonly Row[],
    versions: Map<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<readonly Change[]> {
    const changes: Change[] = []
    for (const row of rows) {
      const listed = this.#listed(row)
      if (listed.kind === 'item' && versions.get(row.id) === listed.version) continue
      const change = await this.#withText(row, listed, signal)
      versions.set(row.id, change.kind === 'item' ? change.version : brokenVersion)
      changes.push(change)
    }
    return changes
  }

  /** As the list tells it: a page is without its text. */
  #listed(row: Row): Listed | BrokenItem {
    const { mapping } = this.#told
    const { collection, url } = this.#options
    const name = nameOf(row)
    const access =
      row.kind === 'issue' ? mapping.accessOfIssue(row.issue) : mapping.accessOfWiki(row.page.project)
    if (typeof access === 'string') return { kind: 'broken', id: row.id, name, problem: access }
    const facts = row.kind === 'issue' ? row.issue : row.page
    return { kind: 'item', id: row.id, name, version: digestOf([facts, access, collection, url]), access }
  }

  /** The text is read now. What it is brought under is looked at again when it is asked for. */
  async #withText(
    row: Row,
    listed: Listed | BrokenItem,
    signal: AbortSignal | undefined,
  ): Promise<ItemChange | BrokenItem> {
    if (listed.kind === 'broken') return listed
    try {
      const content =
        row.kind === 'issue'
          ? contentOfIssue(this.#options, row.issue)
          : await this.#contentOfPage(row.page, signal)
      const readAt = this.#told.recheck.textRead()
      return {
        ...listed,
        content: async (stopping) => {
          await this.#told.recheck.rights(readAt, stopping)
          const isSame = row.kind === 'issue' || (await this.#isStillListed(row.page, stopping))
          const { version, access } = listed
          return content !== undefined && isSame ? { version, access, content } : this.#other()
        },
      }
    } catch (error) {
      const { message: problem } = await this.#told.faults.ofText(error, signal)
      return { kind: 'broken', id: row.id, name: nameOf(row), problem }
    }
  }

  /** Of no version that was ever told: it changed while it was read. */
  #other(): LoadedItem {
    return {
      version: '',
      content: { collection: this.#options.collection, title: '?', text: '' },
      access: {},
    }
  }

  async #isStillListed(page: WikiPage, signal: AbortSignal | undefined): Promise<boolean> {
    const { recheck } = this.#told
    const pages = await this.#ofWiki(page.project, () => recheck.wiki(page.project, signal), signal)
    if (pages instanceof ItemRefused) throw pages
    return pages.some((now) => digestOf({ ...now, isFresh: page.isFresh }) === digestOf(page))
  }

  /** Undefined: it has another version by now, or is gone. */
  async #contentOfPage(page: WikiPage, signal: AbortSignal | undefined): Promise<ItemContent | undefined> {
    this.#told.faults.assertInTime()
    const found = await readWikiText(this.#deps.api, page, signal)
    return found?.version === page.version ? contentOfPage(this.#options, page, found.text) : undefined
  }
}

const asBroken = (problem: { readonly name: string; readonly problem: string }): BrokenItem => ({
  kind: 'broken',
  ...problem,
})

type Listed = Omit<ItemChange, 'content'> & { readonly access: SourceAccess }
