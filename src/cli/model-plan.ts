import { pluralize } from '../kernel/pluralize.ts'
/** Plans of `POST /model/plan`, as a person who has to confirm one reads them. */

export interface Side {
  readonly count: number
  readonly people: number
  readonly documents: number
  readonly samples: readonly { readonly who: string; readonly document_id: string }[]
}

export interface Finding {
  readonly rule: string
  readonly relation: string
  readonly detail: string
}

/** The results of a plan's tests, as the service writes them. */
export interface WireTests {
  readonly hold: boolean
  readonly passed: number
  readonly failed: number
  /** Why none ran. */
  readonly error?: string
  readonly failures: readonly {
    readonly test: string
    readonly question?: string
    readonly expected?: WireAnswer
    readonly got?: WireAnswer
    readonly refused?: string
  }[]
}

type WireAnswer = boolean | readonly string[] | { readonly error: string }

/** A plan, as the service writes it. */
export interface WirePlan {
  readonly plan_id: string
  readonly state: string
  readonly planner: string
  readonly base_model: string
  readonly digest: string
  readonly expires_at: string
  readonly approved_by: readonly string[]
  readonly approvers_needed: number
  readonly reasons: readonly { readonly by: string; readonly reason: string }[]
  /** Why nobody can confirm it any more. */
  readonly outdated?: string
  readonly tests: WireTests
  readonly complete: boolean
  readonly people: number
  readonly documents: number
  readonly delegations: number
  readonly unanswered: number
  readonly watermark: { readonly read_to: string; readonly tuples: number }
  readonly can_read: { readonly gained: Side; readonly lost: Side }
  readonly can_read_delegated: { readonly gained: Side; readonly lost: Side }
  readonly invalid_tuples: {
    readonly count: number
    readonly samples: readonly { readonly tuple: string; readonly reason: string }[]
  }
  readonly refusals: readonly Finding[]
  readonly warnings: readonly Finding[]
}

/** The plans that wait, as the service writes them. */
export interface WireOpenPlans {
  readonly plans: readonly Readonly<Record<string, unknown>>[]
  readonly more: boolean
}

export interface WirePlanRead {
  readonly plan: WirePlan
  readonly diff: string
  readonly allow_list_diff: string
}

export interface WireModel {
  readonly model_id: string
  readonly digest: string
  readonly matches_file: boolean
  readonly history: readonly {
    readonly model_id: string
    readonly digest: string
    /** Left out: a start put it in force. */
    readonly plan_id?: string
    readonly activated_by: readonly string[]
    readonly activated_at: string
  }[]
  readonly awaiting: readonly WirePlan[]
}

/** What a plan says, worst first. */
export function planToText(plan: WirePlan): string {
  const { people, documents, delegations, watermark } = plan
  const isOpen = plan.state !== 'active'
  return [
    `Plan ${plan.plan_id} by ${plan.planner}, ${isOpen ? `until ${plan.expires_at}` : 'which came into force'}`,
    `  from model ${plan.base_model} to the text with sha256 ${plan.digest}`,
    `  tried on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}: ${pluralize(people, 'person', 'people')} and anyone, ${pluralize(documents, 'document')}, ${pluralize(delegations, 'delegation')}`,
    ...(plan.outdated === undefined
      ? []
      : [`OUTDATED, nobody can confirm it: ${plan.outdated} Make a new plan.`]),
    ...(plan.complete ? [] : ['NOT COMPLETE: somebody who is not named here could gain something.']),
    ...listed('REFUSED, this model cannot come into force:', plan.refusals.map(findingToText)),
    ...testsToText(plan.tests),
    ...effectToText(plan),
    ...(plan.unanswered === 0
      ? []
      : [`${pluralize(plan.unanswered, 'question')} could not be answered, which denies.`]),
    ...invalidToText(plan.invalid_tuples),
    ...listed('Warnings:', plan.warnings.map(findingToText)),
    ...(plan.approved_by.length === 0 ? [] : [`Confirmed by ${plan.approved_by.join(', ')}.`]),
    ...plan.reasons.map(
      ({ by: approver, reason }) => `  ${approver}, although tests fail: ${withoutControls(reason)}`,
    ),
  ].join('\n')
}

// Enough to see what kind of thing fails; the console and --json show more.
const failuresShown = 20

function testsToText({ hold, passed, failed, error, failures }: WireTests): string[] {
  if (hold) return [`The truth table holds: ${pluralize(passed, 'test')}.`]
  if (error !== undefined) return [`THE TRUTH TABLE DID NOT RUN: ${error}`]
  const failureLines = failures.slice(0, failuresShown).map((failure) => `  ✕ ${failureToText(failure)}`)
  return [
    `TESTS FAIL: ${failed} of ${passed + failed} in the truth table.`,
    ...failureLines,
    ...(failed > failureLines.length ? [`  ✕ and ${failed - failureLines.length} more`] : []),
  ]
}

/** A failed test in one line. */
export const failureToText = ({
  test,
  question,
  expected,
  got,
  refused: refusal,
}: WireTests['failures'][number]) =>
  refusal === undefined
    ? `${question}: ${answerToText(got)}, expected: ${answerToText(expected)} (${test})`
    : `${test}: its tuples are refused: ${refusal}`

function answerToText(answer: WireAnswer = false): string {
  if (typeof answer === 'boolean') return answer ? 'yes' : 'no'
  return 'error' in answer ? answer.error : answer.join(', ') || 'nobody and nothing'
}

/** The text is a person's: nothing in it may move the cursor or hide a line of a terminal. */
export const diffToText = ({
  diff,
  allow_list_diff,
}: Pick<WirePlanRead, 'diff' | 'allow_list_diff'>): string =>
  [
    diff === ''
      ? 'The text is that of the model that it was made from.'
      : `What it changes in the text:\n${withoutControls(diff)}`,
    ...(allow_list_diff === ''
      ? []
      : [`What it changes in the allow-list:\n${withoutControls(allow_list_diff)}`]),
  ].join('\n')

const withoutControls = (text: string): string =>
  text.replaceAll(/\p{C}/gu, (character) => (character === '\n' || character === '\t' ? character : '?'))

export function modelToText({ model_id, digest, matches_file, history, awaiting }: WireModel): string {
  return [
    `In force: ${model_id}, sha256 ${digest}${matches_file ? ', as model.fga and model.allow-list.yaml' : ', which is not model.fga with model.allow-list.yaml'}`,
    'Before, the newest first:',
    ...history.map(
      (version) =>
        `  ${version.activated_at} ${version.model_id} ${version.digest.slice(0, 12)} ${version.plan_id === undefined ? 'by a start' : `${version.plan_id}, confirmed by ${version.activated_by.join(', ')}`}`,
    ),
    ...awaiting.map((plan) => `\nWaits for another yes:\n${planToText(plan)}`),
  ].join('\n')
}

const findingToText = ({ relation, detail, rule }: Finding): string =>
  `  ! ${relation === '' ? '' : `${relation}: `}${detail} [${rule}]`

const listed = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [title, ...lines]

/** False: a refusal or a limit came before anything was compared, so that no gain and no loss says nothing. */
export const isCompared = ({ complete: isComplete, documents }: WirePlan): boolean =>
  isComplete || documents > 0

/** What is said of a plan that was not compared. */
export const notCompared = 'It was not compared: who gains and who loses is not known.'

function effectToText(plan: WirePlan): string[] {
  if (!isCompared(plan)) return [notCompared]
  const { can_read: direct, can_read_delegated: delegated, complete: isComplete } = plan
  const allSides = [direct.gained, direct.lost, delegated.gained, delegated.lost]
  if (allSides.every(({ count }) => count === 0))
    return [`Nobody gains and nobody loses anything${isComplete ? '' : ' in what was compared'}.`]
  return [
    ...sideToText('People gain', '+', direct.gained),
    ...sideToText('People lose', '-', direct.lost),
    ...sideToText('Agents gain', '+', delegated.gained),
    ...sideToText('Agents lose', '-', delegated.lost),
  ]
}

function sideToText(title: string, sign: string, { count, people, documents, samples }: Side): string[] {
  if (count === 0) return [`${title} nothing.`]
  const sampleLines = samples.map(
    ({ who: subject, document_id }) => `  ${sign} ${subject}  document:${document_id}`,
  )
  const unlisted = count - samples.length
  return [
    `${title} ${count}: ${people} of them, ${pluralize(documents, 'document')}`,
    ...sampleLines,
    ...(unlisted > 0 ? [`  ${sign} and ${unlisted} more`] : []),
  ]
}

function invalidToText({ count, samples }: WirePlan['invalid_tuples']): string[] {
  if (count === 0) return []
  return [
    `${pluralize(count, 'stored tuple')} would not count any more:`,
    ...samples.map(({ tuple, reason }) => `  ${tuple}  (${reason})`),
    ...(count > samples.length ? [`  and ${count - samples.length} more`] : []),
    `  ${staysStored}`,
  ]
}

/** What becomes of tuples that the model would not take. */
export const staysStored =
  'They stay stored: while it is in force nobody can delete them by POST /access, and under a model that takes them they count again. Delete them first.'
