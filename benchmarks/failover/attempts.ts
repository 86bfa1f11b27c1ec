/** What one request did, by the clock that never jumps. */
interface Attempt {
  readonly kind: string
  readonly beganAt: number
  readonly endedAt: number
  /** `refused`: by its status, or no answer at all. */
  readonly outcome: 'done' | 'refused' | 'wrong'
}

export interface Answer {
  readonly status: number
  readonly body: string
}

// Longer than any deadline of the service.
const patienceMs = 15_000

const count = (of: Map<string, number>, what: string): void => void of.set(what, (of.get(what) ?? 0) + 1)

/** Every request of the load, and what became of it. */
export class Attempts {
  readonly #all: Attempt[] = []
  /** How often an answer was neither what was asked for nor a refusal, by what it was. */
  readonly wrong = new Map<string, number>()
  /** How often something was refused, by what said so. */
  readonly refused = new Map<string, number>()
  /** Statuses that refuse. With a clock that is wrong 401 does too. */
  refusals: readonly number[] = [503]

  /** One request. Undefined where it was refused; `isRight` says which answers it may have otherwise. */
  async make(
    kind: string,
    url: string,
    init: RequestInit,
    isRight: (answer: Answer) => boolean = ({ status }) => status < 300,
  ): Promise<Answer | undefined> {
    const beganAt = performance.now()
    const note = (outcome: Attempt['outcome']): void =>
      void this.#all.push({ kind, beganAt, endedAt: performance.now(), outcome })
    let answer: Answer
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(patienceMs) })
      answer = { status: response.status, body: await response.text() }
    } catch {
      note('refused')
      this.noteRefused(`${kind}: no answer`)
      return undefined
    }
    if (this.refusals.includes(answer.status)) {
      note('refused')
      this.noteRefused(`${kind}: ${answer.status} ${/"(?:code|error)":"(\w+)"/.exec(answer.body)?.[1]}`)
    } else if (isRight(answer)) {
      note('done')
      return answer
    } else {
      note('wrong')
      // Without what each answer has of its own.
      const body = answer.body.replaceAll(/[a-z]_[0-9a-f-]{36}/g, '…')
      count(this.wrong, `${kind}: ${answer.status} ${body.slice(0, 200)}`)
    }
    return undefined
  }

  /** Says in {@link refused} what was not done. */
  noteRefused(what: string): void {
    count(this.refused, what)
  }

  /** Milliseconds from a kind's first refusal to its next success, the longest of it since a time. */
  longestRefusal(kind: string, sinceMs: number): number {
    const own = this.#all
      .filter((attempt) => attempt.kind === kind && attempt.endedAt >= sinceMs)
      .sort((one, other) => one.endedAt - other.endedAt)
    let longest = 0
    let from: number | undefined
    for (const { outcome, beganAt, endedAt } of own) {
      if (outcome !== 'done') from ??= beganAt
      else if (from !== undefined) {
        longest = Math.max(longest, endedAt - from)
        from = undefined
      }
    }
    return from === undefined ? longest : Number.POSITIVE_INFINITY
  }

  count(outcome: Attempt['outcome'], sinceMs: number): number {
    return this.#all.filter((attempt) => attempt.outcome === outcome && attempt.endedAt >= sinceMs).length
  }
}
