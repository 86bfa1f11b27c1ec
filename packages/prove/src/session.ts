import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, Answer, Mark } from './adapter.ts'
import type { Digest } from './digest.ts'
import type { Random } from './random.ts'
import type { Finding, Kind } from './report.ts'
import type { Truth } from './truth.ts'

/** How much of each is done. */
export interface Sizes {
  /** (person, question) pairs that are drawn. */
  readonly answers: number
  /** Passages of one answer at most. */
  readonly k: number
  readonly concurrency: number
  /** Invented words whose answers are compared, for each way of being hidden and for none. */
  readonly words: number
  /** Times that each of them is asked. */
  readonly repeats: number
  /** Hidden documents that match better than what may be read. */
  readonly crowd: number
  readonly revocations: number
  /** A restriction counts so long after it was acknowledged. */
  readonly boundMs: number
  /** What was taken away is looked for so long after the bound. */
  readonly watchMs: number
  /** What was planted has to be found in this time. */
  readonly patienceMs: number
}

export interface Subject {
  readonly adapter: Adapter
  /** Of one person, one at a time. */
  readonly token: (person: string, isAgain: boolean) => Promise<string>
  readonly truth: Truth
  readonly people: readonly string[]
  readonly questions: readonly string[]
  /** Two who are invented: one asks, the other owns what is hidden. */
  readonly canaryPeople?: readonly [asker: string, owner: string]
}

export interface TimedAnswer extends Answer {
  readonly ms: number
  /** When it was asked, by `performance.now()`. */
  readonly asked: number
}

/** The endpoint did not do what has to work before anything can be said. The message stands in the report. */
export class Inconclusive extends Error {}

/** One run: who asks, what was found, and how much was seen. */
export interface Session extends Subject {
  readonly sizes: Sizes
  readonly random: Random
  readonly run: string
  readonly digest: Digest
  readonly findings: Finding[]
  readonly counts: {
    requests: number
    passages: number
    /** Answers that were looked through for what they may not hold. */
    searched: number
  }
  /** As this person; with a token of one's own where that is what is tried. */
  ask(person: string, query: string, k?: number, token?: string): Promise<TimedAnswer>
  read(person: string, document: string, token?: string): Promise<TimedAnswer>
  /** As {@link ask}; throws {@link Inconclusive} where it is refused: nothing found says nothing then. */
  askWell(person: string, query: string, k?: number): Promise<TimedAnswer>
  /** Of a request that plants or takes away. */
  mark(): Mark
  /** What no answer to this person may hold from now on, in any place of it; `name` stands in the report. */
  forbid(person: string, secret: string, name: string): void
  found(
    check: string,
    kind: Kind,
    message: string,
    names?: { readonly person?: string; readonly document?: string; readonly question?: string },
  ): void
}

export interface SessionOptions {
  readonly subject: Subject
  readonly sizes: Sizes
  readonly random: Random
  readonly run: string
  readonly trace: string
  readonly digest: Digest
  readonly timeoutMs: number
  readonly stop?: AbortSignal
}

export function createSession({ subject, timeoutMs, trace, stop, ...options }: SessionOptions): Session {
  const { adapter } = subject
  const tokens = new Map<string, Promise<string>>()
  const forbidden = new Map<string, Map<string, string>>()
  const findings: Finding[] = []
  const counts = { requests: 0, passages: 0, searched: 0 }
  const { digest } = options
  const seen = new Set<string>()

  const found: Session['found'] = (check, kind, message, names = {}) => {
    const finding: Finding = {
      check,
      kind,
      message,
      ...(names.person !== undefined && { person: digest(names.person) }),
      ...(names.document !== undefined && { document: digest(names.document) }),
      ...(names.question !== undefined && { question: digest(names.question) }),
    }
    const key = JSON.stringify(finding)
    if (seen.has(key)) return
    seen.add(key)
    findings.push(finding)
  }

  const tokenOf = (person: string, isAgain = false): Promise<string> => {
    const known = tokens.get(person)
    if (known !== undefined && !isAgain) return known
    const made = subject.token(person, isAgain)
    tokens.set(person, made)
    return made
  }

  let spans = 0
  /** `00-TRACE-SPAN-01`, one trace for all. */
  const mark = (): Mark => {
    spans += 1
    return {
      signal: AbortSignal.timeout(timeoutMs),
      traceparent: `00-${trace}-${spans.toString(16).padStart(16, '0')}-01`,
    }
  }

  const request = async (
    person: string,
    given: string | undefined,
    send: (token: string) => Promise<Answer>,
  ): Promise<TimedAnswer> => {
    let refused: number | undefined
    for (let tries = 0; ; tries += 1) {
      stop?.throwIfAborted()
      const token = given ?? (await tokenOf(person))
      counts.requests += 1
      // As it stood before the question: what is forbidden later may still be on its way.
      const secrets = [...(forbidden.get(person) ?? [])]
      const asked = performance.now()
      const answer = await send(token).catch((error: unknown) => {
        throw new Inconclusive(`${adapter.name} does not answer (${kindOf(error)}).`, { cause: error })
      })
      const ms = performance.now() - asked
      if (given === undefined && answer.status === 401 && tries === 0) {
        await tokenOf(person, true)
        continue
      }
      // It is asked to slow down, or something beside it restarts: nothing of what is tried here.
      if (answer.status === 429 || answer.status === 503) {
        refused ??= asked
        const pause = answer.retryAfterMs ?? Math.min(100 * 2 ** tries, 5_000)
        if (performance.now() + pause > refused + options.sizes.patienceMs)
          throw new Inconclusive(tooOften(adapter.name, answer.status, options.sizes.patienceMs))
        await sleep(pause, undefined, stop && { signal: stop })
        continue
      }
      counts.passages += answer.passages.length
      search(person, answer, secrets)
      return { ...answer, ms, asked }
    }
  }

  function search(person: string, answer: Answer, secrets: readonly (readonly [string, string])[]): void {
    if (secrets.length > 0) counts.searched += 1
    const held = answer.raw ?? JSON.stringify(answer.passages)
    for (const [secret, name] of secrets)
      if (held.includes(secret))
        found('hidden-words', 'leak', `An answer held ${name}.`, { person, document: secret })
  }

  const ask: Session['ask'] = (person, query, k = options.sizes.k, given) =>
    request(person, given, (token) => adapter.retrieve({ token, query, k, ...mark() }))

  return {
    ...subject,
    ...options,
    findings,
    counts,
    found,
    ask,
    mark,
    async askWell(person, query, k) {
      const answer = await ask(person, query, k)
      if (answer.status === 200) return answer
      throw new Inconclusive(`${adapter.name} answered ${answer.status} to an invented person.`)
    },
    read: (person, document, given) =>
      request(person, given, (token) => {
        if (adapter.read === undefined) throw new Error('This adapter reads no documents by their ids.')
        return adapter.read({ token, document, ...mark() })
      }),
    forbid(person, secret, name) {
      const known = forbidden.get(person) ?? new Map<string, string>()
      forbidden.set(person, known.set(secret, name))
    },
  }
}

const tooOften = (name: string, status: number, patienceMs: number): string =>
  `${name} answered ${status} for ${patienceMs / 1000} s, or asks to wait for longer.${
    status === 429 ? ' Raise what one person may ask in a minute: at Remit, RATE_PER_MINUTE.' : ''
  }`

/** What it says, and what each cause says: for whoever runs this, since it may quote what was answered. */
export const messageOf = (error: unknown): string => causesOf(error).map(saidBy).join(' ')

/** For a report, which holds no text of an answer: its name and innermost code, `TypeError, ECONNREFUSED`. */
export function kindOf(error: unknown): string {
  const name = error instanceof Error ? error.name : 'no error'
  return [name, causesOf(error).map(codeOf).findLast(Boolean)].filter(Boolean).join(', ')
}

/** It and its causes, the outermost first; no more than anybody reads, should one be its own cause. */
function causesOf(error: unknown): unknown[] {
  const all = [error]
  for (let at = error; at instanceof Error && at.cause !== undefined && all.length < 5; all.push(at))
    at = at.cause
  return all
}

const saidBy = (error: unknown): string =>
  error instanceof Error ? error.message || codeOf(error) || error.name : String(error)

/** Such as ECONNREFUSED, of the system or a library. */
function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^[A-Z][A-Z\d_]{2,40}$/.test(code) ? code : undefined
}

/** So many at a time, in order. After a failure no more begins, and it is thrown once all have ended. */
export async function each<T>(
  values: readonly T[],
  concurrency: number,
  work: (value: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const errors: unknown[] = []
  const worker = async () => {
    for (let at = next++; at < values.length && errors.length === 0; at = next++) {
      const value = values[at]
      if (value !== undefined) await work(value, at).catch((error: unknown) => void errors.push(error))
    }
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, values.length) }, worker))
  if (errors.length > 0) throw errors[0]
}

/** Asks again until it is so; false once patience ends. */
export async function until(isSo: () => Promise<boolean>, patienceMs: number): Promise<boolean> {
  const end = performance.now() + patienceMs
  for (let pause = 2; ; pause = Math.min(pause * 2, 500)) {
    if (await isSo()) return true
    if (performance.now() > end) return false
    await sleep(pause)
  }
}
