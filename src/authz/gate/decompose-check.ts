import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { type Check, tupleId, type Verdict } from '../fga.ts'
import type { CheckPart } from '../permission-index.ts'

/**
 * A question, and smaller ones by whose answers a yes to it follows. They are OpenFGA's to answer, every one
 * of them.
 */
export interface DecomposedCheck {
  readonly check: Check
  readonly parts: readonly CheckPart[] | undefined
}

/**
 * One verdict for each question. Parts go in its place, each once for all that share it; what its parts do
 * not say yes to, by a denial or an error or a missing answer, is asked whole, so that a denial is always an
 * answer to the question itself. So is what `moved` gives of those that its parts said yes to: OpenFGA may
 * have read one of them before a change and the next after it, and said yes to what was true at no moment.
 * `send` answers checks in their order; where it fails the second time, what was proven before stands.
 */
export async function checkDecomposed(
  questions: readonly DecomposedCheck[],
  send: (checks: readonly Check[]) => Promise<readonly Verdict[]>,
  moved: (objects: readonly FgaObject[]) => Promise<ReadonlySet<string>>,
): Promise<readonly Verdict[]> {
  const distinct = new Map<string, Check>()
  const brought = new Map<Check['contextual'], number>()
  // What is brought along is part of a question: one's own would answer another's.
  const keyOf = (check: Check, { contextual }: Check): string => {
    const mark = brought.get(contextual) ?? brought.size
    brought.set(contextual, mark)
    const own = check.contextual === contextual ? [] : (check.contextual ?? [])
    return [mark, ...[check, ...own].map(tupleId)].join(' ')
  }
  for (const { check, parts: subChecks } of questions) {
    for (const uniqueCheck of subChecks?.map((subCheck) => checkOf(subCheck, check)) ?? [check])
      distinct.set(keyOf(uniqueCheck, check), uniqueCheck)
  }
  const answers = await send([...distinct.values()])
  const verdictByKey = new Map([...distinct.keys()].map((key, index) => [key, answers[index] ?? 'error']))
  const isProven = (subChecks: readonly CheckPart[], check: Check): boolean =>
    subChecks.length > 0 &&
    subChecks.every(
      (subCheck) =>
        verdictByKey.get(keyOf(checkOf(subCheck, check), check)) ===
        (subCheck.allowed ? 'allowed' : 'denied'),
    )
  const provenQuestions = new Set(
    questions.filter(({ check, parts: subChecks }) => subChecks !== undefined && isProven(subChecks, check)),
  )
  const unproven =
    provenQuestions.size === 0
      ? new Set<string>()
      : await moved([...provenQuestions].map(({ check }) => check.object))
  const verdicts = questions.map((question): Verdict | undefined => {
    if (question.parts === undefined) return verdictByKey.get(keyOf(question.check, question.check))
    return provenQuestions.has(question) && !unproven.has(question.check.object) ? 'allowed' : undefined
  })
  const openQuestions = questions.filter((_, index) => verdicts[index] === undefined)
  if (openQuestions.length === 0) return verdicts.map((verdict) => verdict ?? 'error')
  const wholeVerdicts = await send(openQuestions.map(({ check }) => check)).catch(unanswered)
  const remainingVerdicts = wholeVerdicts[Symbol.iterator]()
  return verdicts.map((verdict) => verdict ?? remainingVerdicts.next().value ?? 'error')
}

function checkOf({ user, relation, object, contextualTuples = [] }: CheckPart, { contextual }: Check): Check {
  const own = contextualTuples.map((tuple) => ({ ...tuple, object: tuple.object as FgaObject }))
  const brought = own.length === 0 ? contextual : [...(contextual ?? []), ...own]
  return { user, relation, object: object as FgaObject, ...(brought && { contextual: brought }) }
}

function unanswered(error: unknown): readonly Verdict[] {
  if (error instanceof AppError) return []
  throw error
}
