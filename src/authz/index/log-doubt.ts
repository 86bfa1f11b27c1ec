/**
 * The log lacks changes that were read of it. `isCertain`: it lacked them at all looks for a minute, so
 * OpenFGA is an older copy of itself. Until then it may have told a part of its log as if it were all,
 * which it does where its link to its database is cut within an answer.
 */
export class LogWentBack extends Error {
  readonly isCertain: boolean

  constructor({ isCertain }: { readonly isCertain: boolean }) {
    super('OpenFGA lacks changes that it told of')
    this.name = 'LogWentBack'
    this.isCertain = isCertain
  }
}

// A link that ends each connection after some bytes makes every look a part, for as long as it lasts. Nobody
// is answered meanwhile, so to wait costs nothing.
const doubtMs = 60_000
// What passes between two looks counts for no more: a clock may jump, or the process stand still.
const lookMaxMs = 5_000

/**
 * Tells a log that was told in part from that of an older OpenFGA, by how long something is missed that has
 * to be there. `now` is in milliseconds.
 */
export class LogDoubt {
  readonly #now: () => number
  /** For how long it is missed since a look for it failed last, and when it was last looked for. */
  #missed: { readonly forMs: number; readonly lookedAt: number } | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  /** Something was missed, and no look has found it since. */
  get isHeld(): boolean {
    return this.#missed !== undefined
  }

  /** It was missed at all looks for a minute: OpenFGA is an older copy of itself, as long as it is missed. */
  get isCertain(): boolean {
    return this.#missed !== undefined && this.#missed.forMs >= doubtMs
  }

  /** A look did not find it. */
  missed(): LogWentBack {
    const time = this.#now()
    const { forMs, lookedAt } = this.#missed ?? { forMs: 0, lookedAt: time }
    const passedMs = Math.min(Math.max(0, time - lookedAt), lookMaxMs)
    this.#missed = { forMs: forMs + passedMs, lookedAt: time }
    return new LogWentBack({ isCertain: this.isCertain })
  }

  /** A look failed. As long as OpenFGA's link is cut now and then, nothing is certain. */
  lookFailed(): void {
    if (this.isHeld) this.#missed = { forMs: 0, lookedAt: this.#now() }
  }

  end(): void {
    this.#missed = undefined
  }
}
