import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { type Check, tupleId, type Verdict } from '../fga.ts'
import type { CheckPart } from '../permission-index.ts'

/** A question, and smaller ones by whose answers a yes to it follows. They are OpenFGA's to answer, every one of them. */
export interface DecomposedCheck {
  readonly check: Check
  readonly parts: readonly CheckPart[] | undefined
}

/**
 * One verdict for each question. Parts go in its place, each once for all that share it; what its parts do not say yes
 * to, by a denial or an error or a missing answer, is asked whole, so that a denial is always an answer to the question
 * itself. So is what `moved` gives of those that its parts said yes to: OpenFGA may have read one of them before a change
 * and the next after it, and said yes to what was true at no moment. `send` answers checks in their order; where it fails
 * the second time, what was proven before stands.
 */
export async function checkDecomposed(
  questions: readonly DecomposedCheck[],
  send: (checks: readonly Check[]) => Promise<readonly Verdict[]>,
  moved: (objects: readonly FgaObject[]) => Promise<ReadonlySet<string>>,
): Promise<readonly Verdict[]> {
  const distinct = new Map<string, Check>()
  const brought = new Map<Check['contextual'], number>()
  // What is brought along is part of a question: one's own would answer another's.
  const keyOf = (one: Check): string => {
    const mark = brought.get(one.contextual) ?? brought.size
    brought.set(one.contextual, mark)
    return `${mark} ${tupleId(one)}`
  }
  for (const { check, parts } of questions) {
    for (const one of parts?.map((part) => checkOf(part, check)) ?? [check]) distinct.set(keyOf(one), one)
  }
  const answers = await send([...distinct.values()])
  const told = new Map([...distinct.keys()].map((key, index) => [key, answers[index] ?? 'error']))
  const isProven = (parts: readonly CheckPart[], check: Check): boolean =>
    parts.length > 0 &&
    parts.every((part) => told.get(keyOf(checkOf(part, check))) === (part.allowed ? 'allowed' : 'denied'))
  const proven = new Set(
    questions.filter(({ check, parts }) => parts !== undefined && isProven(parts, check)),
  )
  const again =
    proven.size === 0 ? new Set<string>() : await moved([...proven].map(({ check }) => check.object))
  const verdicts = questions.map((one): Verdict | undefined => {
    if (one.parts === undefined) return told.get(keyOf(one.check))
    return proven.has(one) && !again.has(one.check.object) ? 'allowed' : undefined
  })
  const open = questions.filter((_, index) => verdicts[index] === undefined)
  if (open.length === 0) return verdicts.map((verdict) => verdict ?? 'error')
  const whole = await send(open.map(({ check }) => check)).catch(unanswered)
  const rest = whole[Symbol.iterator]()
  return verdicts.map((verdict) => verdict ?? rest.next().value ?? 'error')
}

const checkOf = ({ user, relation, object }: CheckPart, { contextual }: Check): Check => ({
  user,
  relation,
  object: object as FgaObject,
  ...(contextual && { contextual }),
})

function unanswered(error: unknown): readonly Verdict[] {
  if (error instanceof AppError) return []
  throw error
}
