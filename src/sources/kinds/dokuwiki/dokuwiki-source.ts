import {
  type BrokenItem,
  type Change,
  type ChangePage,
  changesByListing,
  type Directory,
  type ItemChange,
  type ItemContent,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from '@remit/connector'
import { mimeTypes } from '../../../ingest/parse/parsed.ts'
import { printable } from '../../../kernel/printable.ts'
import { Unfinished } from '../../fetch.ts'
import { digestOf, idOf } from './ids.ts'
import { knownPeople, type Nobody, type Person } from './people.ts'
import { placesOf, type WikiPlaces } from './places.ts'
import { type Wiki, WikiFailed, type WikiPage, type WikiText } from './wiki.ts'

/** A wiki, of which everybody reads what it lets them read. */
export interface DokuwikiOptions {
  /** Of the wiki, without a slash at its end: `https://wiki.example/wiki`. */
  readonly url: string
  readonly collection: string
  /** Put before each id. */
  readonly prefix: string
  readonly people: readonly Person[]
  /** Whether what everybody may read there without signing in is everybody's in Remit, too. */
  readonly isPublic: boolean
}

/** What a directory told, and what pages are held against until the next one. */
interface Told {
  /** Of the permissions. */
  readonly digest: string
  readonly nobodies: readonly Nobody[]
  readonly places: WikiPlaces
  /** By their ids in Remit. */
  readonly pages: ReadonlyMap<string, WikiPage>
  readonly failures: Failures
}

/** At what the wiki failed in a reading. */
interface Failures {
  inARow: number
  points: number
}

const pageBytesMax = 5_000_000
// Of one batch, whichever is reached first.
const batchPagesMax = 50
const batchBytesMax = 4_000_000
// After so many requests in a row at which the wiki fails it is asked whether it is there.
const failuresMax = 20
// In one reading: what is left then is not asked for. One that takes a minute counts for more.
const pointsMax = 500
const unfinishedPoints = 20

/**
 * The pages of a DokuWiki as a source, and its access control list as the directory. `directory` has to come
 * before `changes` and `item`, each time: who may read a page is what was told then, and a page is only given
 * where that holds still once its text is read. A page is its name: a page that is written anew under the
 * name of one that was deleted is the same one, as it is for the wiki's own list.
 */
export function createDokuwikiSource(options: DokuwikiOptions, wiki: Wiki): Required<Omit<Source, 'items'>> {
  const source = new DokuwikiSource(options, wiki)
  // An object of its own members: one that wraps it copies them.
  return {
    directory: (signal) => source.directory(signal),
    changes: (cursor, signal) => source.changes(cursor, signal),
    item: (id, signal) => source.item(id, signal),
  }
}

class DokuwikiSource {
  readonly #options: DokuwikiOptions
  readonly #wiki: Wiki
  readonly #accounts: readonly string[]
  #last: Told | undefined

  constructor(options: DokuwikiOptions, wiki: Wiki) {
    this.#options = options
    this.#wiki = wiki
    this.#accounts = options.people.map(({ account }) => account)
  }

  async directory(signal?: AbortSignal): Promise<Directory> {
    this.#last = undefined
    const { prefix, people } = this.#options
    const permissions = await this.#wiki.permissions(this.#accounts, signal)
    const pages = await this.#wiki.pages(undefined, signal)
    const { known: knownPersons, nobodies } = knownPeople(people, permissions.accounts)
    const ids = pages.map(({ id }) => id)
    const places = placesOf(ids, permissions, knownPersons, this.#options)
    this.#last = {
      digest: permissions.digest,
      nobodies,
      places,
      pages: new Map(pages.map((page) => [idOf(prefix, page.id), page])),
      failures: { inARow: 0, points: 0 },
    }
    return places.directory
  }

  async *changes(cursor: string | undefined, signal?: AbortSignal): AsyncGenerator<ChangePage> {
    for await (const page of changesByListing(async () => this.#list(), cursor, signal))
      yield { ...page, changes: this.#inBatches(page.changes) }
  }

  async item(id: string, signal?: AbortSignal): Promise<Change> {
    const page = this.#told.pages.get(id)
    if (page === undefined) return { kind: 'deleted', id }
    const broken = brokenOf(id, page)
    if (broken !== undefined) return broken
    const text = (await this.#read([page.id], signal)).get(page.id)
    if (text === undefined) return { kind: 'deleted', id }
    if (text === 'changed')
      return { kind: 'broken', id, name: page.id, problem: 'It changed while it was read.' }
    if ('problem' in text) return { kind: 'broken', id, name: page.id, problem: text.problem }
    return { kind: 'item', id, name: page.id, ...this.#loaded(text) }
  }

  get #told(): Told {
    if (this.#last === undefined) throw new Error('The directory of a wiki comes before its pages.')
    return this.#last
  }

  #list(): readonly (ItemChange | BrokenItem)[] {
    const { pages, nobodies, places } = this.#told
    return [
      ...places.unclear.map((entry) => ({ kind: 'broken' as const, ...entry })),
      ...nobodies.map(({ account, problem }) => ({
        kind: 'broken' as const,
        name: `account ${printable(account)}`,
        problem,
      })),
      ...[...pages].map(([id, page]) => brokenOf(id, page) ?? this.#itemOf(id, page)),
    ]
  }

  #itemOf(id: string, page: WikiPage): ItemChange {
    const load = async (signal?: AbortSignal) => this.#loadedOf(page, await this.#read([page.id], signal))
    const access = this.#accessOf(page.id)
    return { kind: 'item', id, name: page.id, version: this.#versionOf(page), access, content: load }
  }

  /** Several pages by one request, once the first of them is wanted: what did not change is not asked for. */
  #inBatches(changes: readonly Change[]): readonly Change[] {
    const { pages } = this.#told
    let batch: WikiPage[] = []
    let bytes = 0
    let load = this.#loader(batch)
    return changes.map((change) => {
      const page = change.kind === 'item' ? pages.get(change.id) : undefined
      if (change.kind !== 'item' || page === undefined) return change
      if (batch.length === batchPagesMax || (batch.length > 0 && bytes + page.bytes > batchBytesMax)) {
        batch = []
        bytes = 0
        load = this.#loader(batch)
      }
      batch.push(page)
      bytes += page.bytes
      const ofThis = load
      return { ...change, content: async (signal) => this.#loadedOf(page, await ofThis(signal)) }
    })
  }

  #loader(batch: readonly WikiPage[]): (signal?: AbortSignal) => Promise<Map<string, Read>> {
    let reading: Promise<Map<string, Read>> | undefined
    return (signal) => {
      reading ??= this.#read(
        batch.map(({ id }) => id),
        signal,
      )
      return reading
    }
  }

  /**
   * The texts; then who may read them, which has to be what was told; then whether they are the same still.
   */
  async #read(ids: readonly string[], signal?: AbortSignal): Promise<Map<string, Read>> {
    const { digest, failures } = this.#told
    const texts = await this.#texts(ids, failures, signal)
    if ((await this.#wiki.digest(this.#accounts, digest, signal)) !== digest)
      throw new SourceUnavailable('Who may read what changed while the wiki was read.')
    const now = new Map((await this.#wiki.pages(ids, signal)).map((page) => [page.id, page.digest]))
    return new Map(
      texts.flatMap((text): [string, Read][] => {
        const digestNow = now.get(text.id)
        if (digestNow === undefined) return []
        return [[text.id, 'problem' in text || digestNow === text.digest ? text : 'changed']]
      }),
    )
  }

  /**
   * At what the wiki fails is asked for in halves, down to one page, which is broken.
   *
   * @throws SourceUnavailable where the wiki fails at all else, too.
   */
  async #texts(
    ids: readonly string[],
    failures: Failures,
    signal?: AbortSignal,
  ): Promise<readonly (WikiText | Failed)[]> {
    if (failures.points >= pointsMax) return ids.map((id) => ({ id, problem: tooMuch }))
    try {
      const texts = await this.#wiki.texts(ids, signal)
      failures.inARow = 0
      return texts.map((text) => (text.text === '' ? { id: text.id, problem: unreadable } : text))
    } catch (error) {
      const [id, ...others] = ids
      if (!(error instanceof WikiFailed) || id === undefined) throw error
      failures.inARow += 1
      failures.points += error.cause instanceof Unfinished ? unfinishedPoints : 1
      if (failures.inARow > failuresMax) {
        await this.#wiki.pages([], signal)
        failures.inARow = 0
      }
      if (others.length === 0) return [{ id, problem: error.message }]
      const half = Math.ceil(ids.length / 2)
      const before = await this.#texts(ids.slice(0, half), failures, signal)
      return [...before, ...(await this.#texts(ids.slice(half), failures, signal))]
    }
  }

  /** What changed has another version than any that was told: it is asked for once more. */
  #loadedOf(page: WikiPage, texts: Map<string, Read>): LoadedItem {
    const text = texts.get(page.id)
    // It is asked for once: a crawl must not hold all texts until its end.
    texts.delete(page.id)
    if (text !== undefined && text !== 'changed') {
      if ('problem' in text) throw new Error(text.problem)
      return this.#loaded(text)
    }
    const content = { collection: this.#options.collection, title: page.id, text: '' }
    return { version: '', content, access: {} }
  }

  #loaded(text: WikiText): LoadedItem & { readonly content: ItemContent } {
    const { collection } = this.#options
    const content = {
      collection,
      title: titleOf(text),
      uri: this.#uriOf(text.id),
      text: text.text,
      mime_type: mimeTypes.plain,
      updated_at: text.modifiedAt.toISOString(),
    }
    return { version: this.#versionOf(text), content, access: this.#accessOf(text.id) }
  }

  #uriOf(page: string): string {
    return `${this.#options.url}/doku.php?id=${encodeURIComponent(page).replaceAll('%3A', ':')}`
  }

  #accessOf(page: string): { readonly parents?: readonly string[] } {
    const parent = this.#told.places.parentOf(page)
    return parent === undefined ? {} : { parents: [parent] }
  }

  #versionOf({ id, digest }: Pick<WikiPage, 'id' | 'digest'>): string {
    const { collection } = this.#options
    return digestOf(JSON.stringify([digest, this.#accessOf(id), collection, this.#uriOf(id)]))
  }
}

/** A page at which the wiki fails. */
type Failed = Pick<WikiPage, 'id'> & { readonly problem: string }

/** A page's text, or that it was another one a moment later. Of one that is gone: nothing. */
type Read = WikiText | Failed | 'changed'

const unreadable = 'The wiki cannot read its file.'
const tooMuch = 'The wiki fails at too many other pages.'

function brokenOf(id: string, { id: name, bytes }: WikiPage): BrokenItem | undefined {
  if (bytes === 0) return { kind: 'broken', id, name, problem: unreadable }
  if (bytes <= pageBytesMax) return undefined
  return { kind: 'broken', id, name, problem: `It has more than ${pageBytesMax} bytes.` }
}

/** Its first heading, or its name. */
function titleOf({ id, text }: WikiText): string {
  const heading = text
    .split('\n', headingLinesMax)
    .map((line) => line.trim())
    .find((line) => line.length < titleLengthMax && line.startsWith('==') && line.endsWith('=='))
  const name = (id.split(':').at(-1) ?? id).replaceAll('_', ' ')
  return printable(((heading && headingText(heading)) || name).slice(0, titleLengthMax))
}

/** Of `==== Text ====`. */
function headingText(line: string): string {
  let [start, end] = [0, line.length]
  while (line[start] === '=') start += 1
  while (end > start && line[end - 1] === '=') end -= 1
  return line.slice(start, end).trim()
}

const headingLinesMax = 200
const titleLengthMax = 500
