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
import { mimeTypes } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { ItemRefused } from './api.ts'
import { cursorOf, digestOf, readCursor } from './cursor.ts'
import { type Issue, readIssue, readIssues, readWiki, readWikiText, type WikiPage } from './items.ts'
import { Mapping } from './mapping.ts'
import { type KnownAccounts, knownAccounts, type Person } from './people.ts'
import { Recheck, type RecheckDeps } from './recheck.ts'
import { type Rights, type RightsOptions, readRights } from './rights.ts'

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
  readonly known: KnownAccounts
  readonly mapping: Mapping
  readonly recheck: Recheck
}

/** An issue, or a page of a wiki, as a list names it. */
type Row =
  | { readonly kind: 'issue'; readonly id: string; readonly issue: Issue }
  | { readonly kind: 'page'; readonly id: string; readonly page: WikiPage }

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
    const rights = await readRights(this.#deps.api, this.#options, signal)
    const known = knownAccounts(this.#options.people, rights)
    const mapping = new Mapping(rights, known.accounts, this.#options)
    this.#last = { rights, known, mapping, recheck: new Recheck(rights, this.#options, this.#deps) }
    return mapping.directory
  }

  /** The cursor holds the version of each item, and by which rights all of them were brought. */
  async *changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    const { rights, known, mapping, recheck } = this.#told
    const before = readCursor(cursor)
    const versions = new Map(before.versions)
    const listedIds = new Set<string>()
    const problems = [...known.problems, ...mapping.problems]
    let changes: Change[] = problems.map((problem) => ({ kind: 'broken', ...problem }))
    for await (const { rows, total } of this.#rows(signal)) {
      for (const { id } of rows) listedIds.add(id)
      changes.push(...(await this.#changed(rows, versions, signal)))
      if (changes.length < Math.max(textsMin, total / pagesMax)) continue
      yield { changes, cursor: cursorOf('', versions), isLast: false }
      changes = []
    }
    const deleted = [...versions.keys()].filter((id) => !listedIds.has(id))
    for (const id of deleted) versions.delete(id)
    const digest = digestOf([rights.text, known])
    // Rights that never were there at one moment give nobody anything.
    if (before.rights !== digest || changes.length > 0) await recheck.rights(recheck.textRead(), signal)
    yield {
      changes: [...deleted.map((id) => ({ kind: 'deleted' as const, id })), ...changes],
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

  /** Everything that there is, in parts; `total`: about how much that is. */
  async *#rows(
    signal: AbortSignal | undefined,
  ): AsyncGenerator<{ readonly rows: readonly Row[]; readonly total: number }> {
    const { api } = this.#deps
    let total = 0
    for (let [from, isLast] = [1, false]; !isLast; ) {
      const page = await readIssues(api, from, signal)
      total = Math.max(total, page.total)
      yield { rows: page.issues.map((issue) => this.#rowOfIssue(issue)), total }
      from = (page.issues.at(-1)?.id ?? from) + 1
      isLast = page.isLast
    }
    for (const project of this.#told.rights.projects.values()) {
      if (!project.hasWiki) continue
      const pages = await readWiki(api, project.id, { now: this.#deps.now, signal })
      total += pages.length
      for (let offset = 0; offset < pages.length; offset += textsMin)
        yield {
          rows: pages.slice(offset, offset + textsMin).map((page) => this.#rowOfPage(page)),
          total,
        }
    }
  }

  async #row(id: string, signal: AbortSignal | undefined): Promise<Row | undefined> {
    const { api, now } = this.#deps
    const issueId = numberAfter(`${this.#options.prefix}issues/`, id)
    if (issueId !== undefined) {
      const issue = await readIssue(api, issueId, signal)
      return issue && this.#rowOfIssue(issue)
    }
    const [project = '', digest] = id.slice(`${this.#options.prefix}wiki/`.length).split('/')
    const projectId = numberAfter('', project)
    if (projectId === undefined || digest === undefined) return undefined
    const pages = await readWiki(api, projectId, { now, signal })
    return pages.map((page) => this.#rowOfPage(page)).find((row) => row.id === id)
  }

  #rowOfIssue(issue: Issue): Row {
    return { kind: 'issue', id: `${this.#options.prefix}issues/${issue.id}`, issue }
  }

  /** Of a page that was made anew, or has another name, another id. */
  #rowOfPage(page: WikiPage): Row {
    const digest = digestOf([page.title, page.createdOn])
    return { kind: 'page', id: `${this.#options.prefix}wiki/${page.project}/${digest}`, page }
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
        row.kind === 'issue' ? this.#contentOfIssue(row.issue) : await this.#contentOfPage(row.page, signal)
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
      if (!(error instanceof ItemRefused)) throw error
      return { kind: 'broken', id: row.id, name: nameOf(row), problem: error.message }
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
    const pages = await this.#told.recheck.wiki(page.project, signal)
    return pages.some((now) => digestOf({ ...now, isFresh: page.isFresh }) === digestOf(page))
  }

  #contentOfIssue({ id, subject, description, updatedOn }: Issue): ItemContent {
    return {
      collection: this.#options.collection,
      title: titleOf(subject, `#${id}`),
      uri: `${this.#options.url}/issues/${id}`,
      text: `${subject}\n\n${description}`,
      mime_type: mimeTypes.plain,
      updated_at: updatedOn,
    }
  }

  /** Undefined: it has another version by now, or is gone. */
  async #contentOfPage(page: WikiPage, signal: AbortSignal | undefined): Promise<ItemContent | undefined> {
    const { project, title, version, updatedOn } = page
    const found = await readWikiText(this.#deps.api, page, signal)
    if (found?.version !== version) return undefined
    return {
      collection: this.#options.collection,
      title: titleOf(title.replaceAll('_', ' '), `wiki ${project}`),
      uri: `${this.#options.url}/projects/${project}/wiki/${encodeURIComponent(title)}`,
      text: found.text,
      mime_type: mimeTypes.plain,
      updated_at: updatedOn,
    }
  }
}

type Listed = Omit<ItemChange, 'content'> & { readonly access: SourceAccess }

const nameOf = (row: Row): string =>
  printable(row.kind === 'issue' ? `#${row.issue.id}` : `${row.page.title} (project ${row.page.project})`)

const titleOf = (text: string, otherwise: string): string => text.trim().slice(0, 1_000) || otherwise

/** The whole number after a prefix; undefined: something else stands there. */
function numberAfter(prefix: string, text: string): number | undefined {
  const rest = text.startsWith(prefix) ? text.slice(prefix.length) : ''
  return /^[1-9]\d{0,14}$/.test(rest) ? Number(rest) : undefined
}
