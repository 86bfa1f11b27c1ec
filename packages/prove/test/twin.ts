import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * An endpoint that retrieves under permissions, right and simple: it looks at every document. Each of
 * `defects` can be switched on, and makes it wrong in one way that was seen in real ones; beside it stands
 * the check that has to find it. It shares no code with what looks for them.
 */
export const defects = {
  'a revocation is forgotten': 'revocation',
  'a removal is forgotten': 'revocation',
  'answers are remembered': 'revocation',
  'answers are remembered for everybody': 'leak',
  'verdicts are remembered': 'revocation',
  'a revocation takes 60 ms': 'revocation',
  'what was taken away comes back': 'afterwards',
  'a new text is shown under the old readers': 'hidden-words',
  'a restriction is lost while a document is pending': 'pending',
  'an old model decides': 'leak',
  'a membership that ended still counts': 'leak',
  'names are compared without their case': 'leak',
  'a name that begins alike is enough': 'leak',
  'who asks is kept beside the request': 'leak',
  'no token is everybody': 'strangers',
  'a token is not verified': 'strangers',
  'reading by id asks for no token': 'strangers',
  'a wildcard passes the filter by': 'odd-questions',
  'a large answer passes the filter by': 'odd-questions',
  'the next passage comes along': 'hidden-words',
  'a suggestion holds hidden words': 'hidden-words',
  'related documents are named': 'hidden-words',
  'reading by id is not checked': 'by-id',
  'places count what is hidden': 'twins',
  'fused before it is filtered': 'twins',
  'rare words count what is hidden': 'twins',
  'a total counts what is hidden': 'twins',
  'a size depends on what is hidden': 'twins',
  'a time depends on what is hidden': 'twins',
  'a status depends on what is hidden': 'twins',
  'an error says that something is hidden': 'twins',
  'a flag says that something is hidden': 'twins',
  'what is removed still counts': 'twins',
  'a hidden id has another status': 'by-id',
  'a hidden id has another message': 'by-id',
  'a hidden id takes longer': 'by-id',
  'few are looked at and filtered': 'crowd',
  'the list ends early for some': 'completeness',
} as const

export type Defect = keyof typeof defects

interface Stored {
  readonly id: string
  text: string
  readers: readonly string[]
  /** What may be read now; behind, while a change waits. */
  published: { text: string; readers: readonly string[] } | undefined
  isRemoved: boolean
}

export interface Twin extends AsyncDisposable {
  /** One request, as its server would answer it. */
  answer(
    method: string,
    path: string,
    authorization: string | undefined,
    sent: string,
  ): Promise<{ readonly status: number; readonly raw: string }>
  /** Serves it on a free port of loopback; gives its address. */
  listen(): Promise<string>
  readonly people: readonly string[]
  readonly questions: readonly string[]
  /** Lines `person,document`. */
  readonly table: string
}

const topics = ['travel', 'budget', 'salary', 'board', 'paint', 'train', 'merger', 'office']
/** Of these groups; `former` were members of `staff`, and `guests` were part of it in an earlier model. */
const groups: Readonly<Record<string, readonly string[]>> = {
  staff: ['anne', 'bob', 'carol'],
  former: ['dan'],
  guests: ['eve'],
}
const people = ['anne', 'Anne', 'bob', 'bobby', 'carol', 'dan', 'eve']

export async function startTwin(defect?: Defect): Promise<Twin> {
  const is = (one: Defect): boolean => one === defect
  const documents = new Map<string, Stored>()
  const answers = new Map<string, unknown>()
  const verdicts = new Map<string, boolean>()
  let beside = ''
  const later: { questions: number; apply: () => void }[] = []

  for (let number = 0; number < 80; number += 1) {
    const words = topics.filter(
      (_, index) => (number >> (index % 4)) % 2 === index % 2 || index === number % 8,
    )
    const direct = people[number % people.length] ?? ''
    const readers = number % 4 === 0 ? ['group:staff'] : [direct, ...(number % 3 === 0 ? ['anne'] : [])]
    const text = `${words.join(' ')} ${words[0]} ${'note '.repeat(number % 5)}${number}.`
    publish({ id: `d${number}`, text, readers, published: undefined, isRemoved: false })
  }

  function publish(document: Stored) {
    document.published = { text: document.text, readers: document.readers }
    documents.set(document.id, document)
  }

  const isMember = (person: string, group: string, isRight: boolean): boolean =>
    groups[group]?.includes(person) === true ||
    (!isRight &&
      group === 'staff' &&
      is('an old model decides') &&
      groups['guests']?.includes(person) === true) ||
    (!isRight &&
      group === 'staff' &&
      is('a membership that ended still counts') &&
      groups['former']?.includes(person) === true)

  const isReader = (person: string, readers: readonly string[], isRight = false): boolean =>
    readers.some((reader) => {
      if (reader.startsWith('group:')) return isMember(person, reader.slice(6), isRight)
      if (reader === person) return true
      if (isRight || person === '') return false
      if (is('names are compared without their case')) return reader.toLowerCase() === person.toLowerCase()
      return is('a name that begins alike is enough') && person.startsWith(reader)
    })

  function mayRead(person: string, document: Stored): boolean {
    if (document.published === undefined) return false
    if (person === '' && is('no token is everybody')) return true
    const key = `${person} ${document.id}`
    const known = verdicts.get(key)
    if (known !== undefined && is('verdicts are remembered')) return known
    const verdict = isReader(person, document.published.readers)
    verdicts.set(key, verdict)
    return verdict
  }

  /** `token-of-NAME` and a seal that only the issuer can make. */
  function personOf(header: string | undefined): string | undefined {
    const token = header?.replace('Bearer ', '').trim() ?? ''
    if (token === '') return is('no token is everybody') ? '' : undefined
    const name = /^token-of-(\w+)-sealed99$/.exec(token)?.[1]
    if (name !== undefined) return name
    // A shortened one lacks its seal.
    if (is('a token is not verified')) return /^token-of-(\w+)/.exec(token)?.[1]
    return undefined
  }

  const count = (text: string, words: readonly string[]): number[] => {
    const own = text.toLowerCase().split(/\W+/)
    return words.map((word) => own.filter((one) => one === word).length)
  }

  function search(person: string, query: string, k: number) {
    const words = query.toLowerCase().split(/\W+/).filter(Boolean)
    const standing = [...documents.values()].filter(
      ({ published, isRemoved }) =>
        published !== undefined &&
        (!isRemoved || is('what is removed still counts') || is('a removal is forgotten')),
    )
    const isAll = is('a wildcard passes the filter by') && (query === '*' || query === '')
    const isLarge = is('a large answer passes the filter by') && k > 500
    const matching = standing
      .map((document) => ({ document, counts: count(document.published?.text ?? '', words) }))
      .filter(({ counts }) => isAll || counts.some((one) => one > 0))
    const isAllowed = ({ document }: (typeof matching)[number]) =>
      isAll || isLarge || ((!document.isRemoved || is('a removal is forgotten')) && mayRead(person, document))
    // What is hidden is none of these.
    const visible = matching.filter(isAllowed)
    const counted = is('rare words count what is hidden') ? matching : visible
    const weights = words.map((_, index) => {
      const having = counted.filter(({ counts }) => (counts[index] ?? 0) > 0).length
      return Math.log(1 + counted.length / (having + 0.5))
    })
    const score = ({ counts }: (typeof matching)[number]) =>
      counts.reduce((sum, one, index) => sum + (weights[index] ?? 0) * (one / (one + 1.2)), 0)
    const ranked = (list: typeof matching) =>
      list
        .map((one) => ({ ...one, score: score(one) }))
        .sort((a, b) => b.score - a.score || (a.document.id < b.document.id ? -1 : 1))
    let found = ranked(visible)
    if (is('places count what is hidden') || is('few are looked at and filtered')) {
      const all = ranked(matching).map((one, place) => ({ ...one, score: 1 / (place + 1) }))
      found = (is('few are looked at and filtered') ? all.slice(0, k * 2) : all).filter(isAllowed)
      if (is('few are looked at and filtered')) found = ranked(found)
    }
    if (is('fused before it is filtered')) found = fused(ranked(matching)).filter(isAllowed)
    if (is('the list ends early for some') && person === 'bob') found = found.slice(0, 2)
    const hidden = ranked(matching).filter((one) => !isAllowed(one))
    return { found: found.slice(0, k), total: found.length, hidden }
  }

  /** By the words' weights, and by how large a part of the text they are; both by places. */
  function fused<T extends { document: Stored; counts: number[]; score: number }>(list: T[]): T[] {
    const share = ({ document, counts }: T) => (counts[0] ?? 0) / (document.published?.text.length ?? 1)
    const other = [...list].sort((a, b) => share(b) - share(a))
    const points = new Map<T, number>()
    for (const one of [list, other])
      for (const [place, item] of one.entries()) points.set(item, (points.get(item) ?? 0) + 1 / (2 + place))
    return [...list]
      .sort((a, b) => (points.get(b) ?? 0) - (points.get(a) ?? 0))
      .map((one) => ({ ...one, score: 0 }))
  }

  async function retrieve(header: string | undefined, body: { query: string; k: number }) {
    const asks = personOf(header)
    if (asks === undefined) return { status: 401, body: { error: 'Who is asking?' } }
    for (const one of later) if (--one.questions === 0) one.apply()
    beside = asks
    if (is('who asks is kept beside the request')) await sleep(1)
    const person = is('who asks is kept beside the request') ? beside : asks
    if (body.k < 1) return { status: 422, body: { error: 'k' } }
    const key = is('answers are remembered for everybody')
      ? `${body.query} ${body.k}`
      : `${person} ${body.query} ${body.k}`
    if (answers.has(key) && (is('answers are remembered') || is('answers are remembered for everybody')))
      return { status: 200, body: answers.get(key) }
    const { found, total, hidden } = search(person, body.query, body.k)
    if (is('a time depends on what is hidden')) await sleep(Math.min(hidden.length, 3) * 8)
    if (hidden.length > 0 && is('a status depends on what is hidden'))
      return { status: 403, body: { error: 'No.' } }
    const all = [...documents.values()]
    const shown = (document: Stored): string => {
      const next = all[all.indexOf(document) + 1]
      const text = document.published?.text ?? ''
      return is('the next passage comes along') && next?.published ? `${text} ${next.published.text}` : text
    }
    const first = hidden[0]?.document
    const answer = {
      passages: found.map(({ document, score }) => ({
        id: `${document.id}#0`,
        document: document.id,
        text: shown(document),
        score,
      })),
      total:
        is('a total counts what is hidden') || is('what is removed still counts')
          ? total + hidden.length
          : total,
      complete: !(is('a flag says that something is hidden') && hidden.length > 0),
      ...(is('a size depends on what is hidden') && { debug: '.'.repeat(hidden.length) }),
      ...(is('an error says that something is hidden') &&
        hidden.length > 0 && { note: 'Some were withheld.' }),
      ...(is('a suggestion holds hidden words') &&
        first && { suggestion: first.published?.text.split(' ').at(-1) }),
      ...(is('related documents are named') && first && { related: [first.id] }),
    }
    answers.set(key, answer)
    return { status: 200, body: answer }
  }

  async function read(header: string | undefined, id: string) {
    const person = personOf(header) ?? (is('reading by id asks for no token') ? 'anne' : undefined)
    if (person === undefined) return { status: 401, body: { error: 'Who is asking?' } }
    const document = documents.get(id)
    const isThere = document?.published !== undefined && (!document.isRemoved || is('a removal is forgotten'))
    if (isThere && (mayRead(person, document) || is('reading by id is not checked')))
      return { status: 200, body: { passages: [{ id, document: id, text: document.published?.text }] } }
    if (isThere && is('a hidden id takes longer')) await sleep(20)
    if (isThere && is('a hidden id has another status')) return { status: 403, body: { error: 'No.' } }
    const isTold = isThere && is('a hidden id has another message')
    return { status: 404, body: { error: isTold ? 'Not for you.' : 'Not there.' } }
  }

  async function write(method: string, id: string, body: { text?: string; readers?: string[] }) {
    const known = documents.get(id)
    if (method === 'DELETE') {
      if (known) known.isRemoved = true
      return
    }
    const { readers = [] } = body
    if (body.text === undefined) {
      if (known === undefined) return
      const [old, now] = [
        known.readers,
        is('a revocation is forgotten') ? [...known.readers, ...readers] : readers,
      ]
      known.readers = now
      if (known.published === undefined) {
        // The publication that is under way took its copy before.
        if (is('a restriction is lost while a document is pending')) known.readers = old
        return
      }
      const apply = () => {
        known.published = { text: known.published?.text ?? known.text, readers: now }
      }
      if (is('a revocation takes 60 ms')) setTimeout(apply, 60)
      else apply()
      if (is('what was taken away comes back') && old.length > now.length)
        later.push({
          questions: 12,
          apply: () => {
            known.published = { text: known.text, readers: old }
          },
        })
      return
    }
    const stored: Stored = { id, text: body.text, readers, published: known?.published, isRemoved: false }
    documents.set(id, stored)
    // Restrictions hold at once; a new text comes with its readers, a little later.
    if (stored.published && !is('a new text is shown under the old readers'))
      stored.published = {
        ...stored.published,
        readers: stored.published.readers.filter((one) => readers.includes(one)),
      }
    else if (stored.published) stored.published = { ...stored.published, text: body.text }
    setTimeout(
      () => {
        if (documents.get(id) === stored) publish(stored)
      },
      is('a new text is shown under the old readers') && known !== undefined ? 50 : 3,
    )
  }

  const answer: Twin['answer'] = async (method, path, authorization, sent) => {
    const [, , id = ''] = path.split('/').map(decodeURIComponent)
    const body = sent === '' ? {} : JSON.parse(sent)
    const { status, body: answered } =
      path === '/retrieve'
        ? await retrieve(authorization, body)
        : method === 'GET'
          ? await read(authorization, id)
          : await write(method, id, body).then(() => ({ status: 200, body: {} }))
    return { status, raw: JSON.stringify(answered) }
  }
  const server = createServer((request, response) => {
    const serve = async () => {
      let sent = ''
      for await (const part of request) sent += part
      const { method = '', url = '', headers } = request
      const { status, raw } = await answer(method, url, headers.authorization, sent)
      response.writeHead(status, { 'content-type': 'application/json' }).end(raw)
    }
    serve().catch((error: unknown) => response.destroy(error as Error))
  })
  const table = [...documents.values()].flatMap(({ id, readers }) =>
    people.filter((person) => isReader(person, readers, true)).map((person) => `${person},${id}`),
  )
  return {
    answer,
    listen: async () => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    },
    people,
    questions: topics.flatMap((topic, index) => [topic, `${topic} ${topics[(index + 3) % 8]}`]),
    table: table.join('\n'),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
