/** What Redmine answered to somebody with these roles: whether they see issues of a tracker. */
export interface Evidence {
  /** Roles that may see issues at all, by their ids. */
  readonly roles: readonly number[]
  readonly tracker: number
  readonly isVisible: boolean
}

/** undefined: the answers do not tell. */
export type Verdict = boolean | undefined

/**
 * Which roles see issues of which trackers. Redmine's API does not say which trackers a role is limited to
 * (`permissions_tracker_ids` of its app/models/role.rb): it shows in what it answers to those who hold it.
 */
export class Permits {
  readonly #denied = new Map<number, Set<number>>()
  /** By tracker: sets of roles of which at least one sees it. */
  readonly #allowed = new Map<number, (readonly number[])[]>()

  add({ roles, tracker, isVisible }: Evidence): void {
    if (isVisible) {
      this.#allowed.set(tracker, [...(this.#allowed.get(tracker) ?? []), roles])
      return
    }
    const denied = this.#denied.get(tracker) ?? new Set()
    for (const role of roles) denied.add(role)
    this.#denied.set(tracker, denied)
  }

  /** Whether who has these roles, and only these, sees issues of a tracker. */
  verdict(roles: readonly number[], tracker: number): Verdict {
    const denied = this.#denied.get(tracker)
    const isOpen = (role: number): boolean => denied?.has(role) !== true
    if (!roles.some(isOpen)) return false
    for (const some of this.#allowed.get(tracker) ?? []) {
      const openRoles = some.filter(isOpen)
      if (openRoles.length > 0 && openRoles.every((role) => roles.includes(role))) return true
    }
    return undefined
  }

  /** Of one text for trackers about which the same is known of whoever holds no other roles than these. */
  rule(tracker: number, held: ReadonlySet<number>): string {
    const denied = this.#denied.get(tracker)
    const allowed = (this.#allowed.get(tracker) ?? [])
      .map((roles) => roles.filter((role) => denied?.has(role) !== true))
      .filter((roles) => roles.length > 0 && roles.every((role) => held.has(role)))
    // One that holds a smaller one tells nothing.
    const least = allowed.filter(
      (roles) =>
        !allowed.some((some) => some.length < roles.length && some.every((role) => roles.includes(role))),
    )
    const ascending = (a: number, b: number): number => a - b
    return JSON.stringify([
      [...(denied ?? [])].filter((role) => held.has(role)).sort(ascending),
      [...new Set(least.map((roles) => [...roles].sort(ascending).join('+')))].sort(),
    ])
  }
}
