/** What `POST /explain` answers, as far as it is printed. */
export interface Explained {
  readonly decision: string
  readonly explained: string | null
  readonly agrees: boolean | null
  readonly in_words: string
  /** What the registry of agents takes away beside the decision. */
  readonly registry?: { readonly in_words: string } | undefined
  readonly reason: WireReason | null
  readonly cut: number
  readonly at: string
  readonly replica: { readonly state: string; readonly lag_ms: number }
}

interface WireReason {
  readonly kind: string
  readonly holds: string
  readonly relation?: string | undefined
  readonly object?: string | undefined
  readonly rule?: string | undefined
  readonly tuple?: { readonly user: string; readonly relation: string; readonly object: string } | undefined
  readonly source?: string | undefined
  readonly written_at?: string | undefined
  readonly condition?:
    | { readonly holds: string; readonly until?: string | undefined; readonly error?: string | undefined }
    | undefined
  readonly users?: readonly string[] | undefined
  readonly count?: number | undefined
  readonly because: readonly WireReason[]
}

const marks: Readonly<Record<string, string>> = { yes: '+', no: '-', cycle: '?', error: '!' }

/** The answer as lines: the decision, what to know about it, and the tree. `+` holds, `-` does not, `?` and `!` cannot be decided. */
export function explanationLines({
  in_words,
  registry,
  agrees,
  replica,
  reason,
  cut,
}: Explained): readonly string[] {
  return [
    in_words,
    ...(registry === undefined ? [] : [registry.in_words]),
    ...(agrees === false
      ? ['The replica says otherwise than OpenFGA: do not take the tree for the reason.']
      : []),
    ...(replica.state === 'ready' ? [] : [`The replica is not up to date (${replica.state}).`]),
    ...(reason === null ? ['No tree: the replica cannot be used now.'] : ['', ...treeLines(reason)]),
    ...(cut > 0 ? ['', `${cut} more branches are not shown.`] : []),
  ]
}

function treeLines(reason: WireReason): string[] {
  const below = reason.because.flatMap((inner, index) => {
    const isLast = index === reason.because.length - 1
    return treeLines(inner).map(
      (line, row) => `${row > 0 ? (isLast ? '   ' : '|  ') : isLast ? '`- ' : '|- '}${line}`,
    )
  })
  return [`${marks[reason.holds] ?? '?'} ${reasonText(reason)}`, ...below]
}

function reasonText(reason: WireReason): string {
  const { kind, relation = '', object = '', rule = '', users = [], count = 0, holds } = reason
  switch (kind) {
    case 'tuple':
      return tupleText(reason)
    case 'not':
      return holds === 'yes' ? `not excluded by: ${rule}` : `excluded by: ${rule}`
    case 'rule':
      return rule
    case 'missing':
      return users.length === 0
        ? `${relation} of ${object}: the model knows no way to it`
        : `no tuple: ${users.join(' or ')} ${relation} ${object}`
    case 'self':
      return 'it is the subject itself'
    case 'cycle':
      return `${relation} of ${object}: goes round in a circle`
    case 'depth':
      return `${relation} of ${object}: too deep, not looked at`
    case 'seen':
      return `${relation} of ${object}: as shown elsewhere`
    case 'cut':
      return `${count} more`
    default:
      return `${relation} of ${object}`
  }
}

function tupleText({ tuple, source, written_at: written, condition }: WireReason): string {
  const about = [
    source === 'request' ? 'comes with the request' : written && `written ${written}`,
    condition?.until && `${condition.holds === 'yes' ? 'until' : 'ended'} ${condition.until}`,
    condition?.error,
  ].filter((segment) => segment !== undefined && segment !== '')
  const text = `${tuple?.user} ${tuple?.relation} ${tuple?.object}`
  return about.length === 0 ? text : `${text} (${about.join(', ')})`
}
