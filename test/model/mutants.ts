/** A model with one rule changed. */
export interface Mutant {
  readonly what: string
  readonly dsl: string
}

/**
 * Every way to leave one thing out of one rule: an operand of `or` and `and`, a `but not`, one of several
 * kinds of subject. What is left is a valid model that lets in more or fewer.
 */
export function leaveOutEach(dsl: string): readonly Mutant[] {
  const lines = dsl.split('\n')
  let type = ''
  return lines.flatMap((line, index) => {
    type = /^type (\w+)/.exec(line)?.[1] ?? type
    const [, head, relation, rule] = /^( {4}define (\w+): )(.*)$/.exec(line) ?? []
    if (head === undefined || relation === undefined || rule === undefined) return []
    return withoutOne(rule).map(({ left, out }) => ({
      what: `${type}#${relation} without ${out}`,
      dsl: lines.with(index, head + left).join('\n'),
    }))
  })
}

/** One text in place of another that stands there exactly once. */
export function replaceOnce(dsl: string, before: string, after: string): Mutant {
  if (dsl.split(before).length !== 2) throw new Error(`Not exactly once in the model: ${before}`)
  return { what: `"${after.trim()}" in place of "${before.trim()}"`, dsl: dsl.replace(before, after) }
}

/** One text in place of the nth of several that are alike, counted from 1. */
export function replaceNth(dsl: string, nth: number, before: string, after: string): Mutant {
  const parts = dsl.split(before)
  if (parts.length <= nth) throw new Error(`Not ${nth} times in the model: ${before}`)
  const changed = parts.slice(0, nth).join(before) + after + parts.slice(nth).join(before)
  return { what: `"${after}" in place of "${before}", number ${nth}`, dsl: changed }
}

interface Left {
  readonly left: string
  readonly out: string
}

function withoutOne(rule: string): readonly Left[] {
  const [base, excluded] = rule.split(' but not ')
  if (base !== undefined && excluded !== undefined) return [{ left: base, out: `but not ${excluded}` }]
  const joint = rule.includes(' and ') ? ' and ' : ' or '
  const operands = rule.split(joint)
  return [
    ...without(operands).map(({ left, out }) => ({ left: left.join(joint), out: `${joint.trim()} ${out}` })),
    ...subjectsLeftOut(rule),
  ]
}

function subjectsLeftOut(rule: string): readonly Left[] {
  const [, list, rest] = /^\[(.*?)\](.*)$/.exec(rule) ?? []
  if (list === undefined || rest === undefined) return []
  return without(list.split(', ')).map(({ left, out }) => ({ left: `[${left.join(', ')}]${rest}`, out }))
}

/** Each list that lacks one; none of a list of one, which would be empty. */
function without(items: readonly string[]): readonly { readonly left: readonly string[]; out: string }[] {
  if (items.length < 2) return []
  return items.map((out, index) => ({ left: items.toSpliced(index, 1), out }))
}
