import {
  changesByListing,
  type ItemChange,
  itemByListing,
  type Source,
  type SourceWorld,
} from '../src/index.ts'

/** A source in memory, listed; `wrap` breaks it. */
export function memoryWorld(wrap: (source: Source) => Source = (source) => source): SourceWorld {
  const contents = new Map<string, string | undefined>()
  const idOf = (name: string) => `docs/${name}`
  const list = async () =>
    [...contents].map(([name, text]) =>
      text === undefined
        ? { kind: 'broken' as const, id: idOf(name), name, problem: 'It cannot be said who may read it.' }
        : itemOf(name, text),
    )
  const source: Source = {
    changes: (cursor) => changesByListing(list, cursor),
    item: (id) => itemByListing(list, id),
  }
  return {
    source: wrap(source),
    async put(name, text) {
      contents.set(name, text)
      return idOf(name)
    },
    async remove(name) {
      contents.delete(name)
    },
    async spoil(name) {
      contents.set(name, undefined)
    },
  }

  function itemOf(name: string, text: string): ItemChange {
    const access = { viewers: ['user:anne'] }
    const content = { collection: 'docs', title: name, text }
    return {
      kind: 'item',
      id: idOf(name),
      version: text,
      access,
      content: async () => ({ version: text, content, access }),
    }
  }
}

/** The source with other changes. */
export const withChanges = (source: Source, changes: Source['changes']): Source => ({ ...source, changes })

/** The source with each page as `map` makes it. */
export const mapPages = (
  source: Source,
  map: (page: Page, cursor: string | undefined) => Page | undefined,
): Source =>
  withChanges(source, async function* (cursor, signal) {
    for await (const page of source.changes(cursor, signal)) {
      const mapped = map(page, cursor)
      if (mapped !== undefined) yield mapped
    }
  })

type Page = Source extends { changes(...args: never[]): AsyncIterable<infer P> } ? P : never
