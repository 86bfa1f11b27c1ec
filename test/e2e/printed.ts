/**
 * What a page shows, read as a pattern for what is really printed, whose ids and times are others each time.
 */
export interface Printed {
  /** What was shown, as it is called in this run: ids that were printed before, days, and what is given. */
  here(shown: string): string
  /** Whether this is what the page shows; and remembers which id of this run each of the page's is. */
  matches(shown: string, real: string): boolean
}

const tokens =
  /(?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)|(?<id>(?<![\w-])(?:[a-z]_[\w-]{22}|[\w-]{43}|01[0-9A-Z]{24}|[0-9a-f]{64})(?![\w-]))|(?<count>(?<=(?:records|seals|seal|line):? )\d+)|(?<proof>asked fast)|(?<rest>…)/g

/**
 * `shownOn`, `today`: the days on which the page and this run were made; what is given is said otherwise
 * here.
 */
export function createPrinted(given: {
  readonly shownOn: string
  readonly today: string
  readonly words: Readonly<Record<string, string>>
}): Printed {
  const shift = Date.parse(given.today) - Date.parse(given.shownOn)
  const known = new Map<string, string>()
  const dayHere = (time: string): string => new Date(Date.parse(time) + shift).toISOString()
  const inWords = (text: string): string =>
    Object.entries(given.words).reduce((sofar, [one, other]) => sofar.replaceAll(one, other), text)

  function patternOf(shown: string): {
    readonly pattern: RegExp
    readonly groups: ReadonlyMap<string, string>
  } {
    const groups = new Map<string, string>()
    let pattern = ''
    let end = 0
    for (const { 0: token, index, groups: kind = {} } of shown.matchAll(tokens)) {
      pattern += literal(shown.slice(end, index))
      end = index + token.length
      if (kind['time'] !== undefined) pattern += timePattern(token)
      else if (kind['count'] !== undefined) pattern += '\\d+'
      // Past the caches, where it came into force a few seconds ago: that is for the machine to say.
      else if (kind['proof'] !== undefined) pattern += 'asked(?: fast)?'
      else if (kind['rest'] !== undefined) pattern += '[\\s\\S]*?'
      else pattern += idPattern(token, groups)
    }
    return { pattern: new RegExp(`^${pattern}${literal(shown.slice(end))}$`), groups }
  }

  /**
   * To the minute where it was before the day of the page; what is today or later is when the command ran.
   */
  function timePattern(time: string): string {
    if (Date.parse(time) >= Date.parse(given.shownOn)) return '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z'
    return `${dayHere(time).slice(0, 16)}:[\\d.]+Z`
  }

  function idPattern(id: string, groups: Map<string, string>): string {
    const here = known.get(id)
    if (here !== undefined) return literal(here)
    const name = groups.get(id)
    if (name !== undefined) return `\\k<${name}>`
    const fresh = `g${groups.size}`
    groups.set(id, fresh)
    return `(?<${fresh}>${/^[a-z]_/.exec(id)?.[0] ?? ''}[\\w-]+)`
  }

  return {
    here: (shown) =>
      inWords(shown).replace(tokens, (token, ...rest) => {
        const { time } = rest.at(-1) as { readonly time?: string }
        if (time === undefined) return known.get(token) ?? token
        return time.endsWith('T00:00:00Z') ? dayHere(time).replace('.000Z', 'Z') : token
      }),
    matches(shown, real) {
      const { pattern, groups } = patternOf(inWords(shown))
      const found = pattern.exec(real)
      for (const [id, name] of groups) {
        const here = found?.groups?.[name]
        if (here !== undefined) known.set(id, here)
      }
      return found !== null
    },
  }
}

const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
