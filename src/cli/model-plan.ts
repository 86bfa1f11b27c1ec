import type {
  ActiveModel,
  ChangeSide,
  Finding,
  ModelAnswer,
  Plan,
  PlanRead,
  PlanTests,
} from '@remit/contract/model'
import { pluralize } from '../kernel/pluralize.ts'

/** What a plan says, worst first. */
export function planToText(plan: Plan): string {
  const { people, documents, delegations, watermark } = plan
  const isOpen = plan.state !== 'active'
  return [
    `Plan ${plan.plan_id} by ${plan.planner}, ${isOpen ? `until ${plan.expires_at}` : 'which came into force'}`,
    `  from model ${plan.base_model} to the text with sha256 ${plan.digest}`,
    `  tried on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}: ${pluralize(people, 'person', 'people')} and anyone, ${pluralize(documents, 'document')}, ${pluralize(delegations, 'delegation')}`,
    ...when(
      plan.outdated !== undefined,
      `OUTDATED, nobody can confirm it: ${plan.outdated} Make a new plan.`,
    ),
    ...when(!plan.complete, 'NOT COMPLETE: somebody who is not named here could gain something.'),
    ...listed('REFUSED, this model cannot come into force:', plan.refusals.map(findingToText)),
    ...testsToText(plan.tests),
    ...effectToText(plan),
    ...when(plan.unanswered > 0, unansweredToText(plan.unanswered)),
    ...invalidToText(plan.invalid_tuples),
    ...listed('Warnings:', plan.warnings.map(findingToText)),
    ...when(plan.approved_by.length > 0, `Confirmed by ${plan.approved_by.join(', ')}.`),
    ...plan.reasons.map(
      ({ by: approver, reason }) => `  ${approver}, although tests fail: ${withoutControls(reason)}`,
    ),
  ].join('\n')
}

/** The lines where it is so, else none. */
export const when = (isSo: boolean, ...lines: readonly string[]): readonly string[] => (isSo ? lines : [])

/** What is said of questions without an answer. */
export const unansweredToText = (count: number): string =>
  `${pluralize(count, 'question')} could not be answered, which denies.`

const moreToText = (sign: string, count: number, shownCount: number): readonly string[] =>
  when(count > shownCount, `${sign} and ${count - shownCount} more`)

// Enough to see what kind of thing fails; the console and --json show more.
const failuresShown = 20

function testsToText({ hold, passed, failed, error, failures }: PlanTests): string[] {
  if (hold) return [`The truth table holds: ${pluralize(passed, 'test')}.`]
  if (error !== undefined) return [`THE TRUTH TABLE DID NOT RUN: ${error}`]
  const failureLines = failures.slice(0, failuresShown).map((failure) => `  ✕ ${failureToText(failure)}`)
  return [
    `TESTS FAIL: ${failed} of ${passed + failed} in the truth table.`,
    ...failureLines,
    ...moreToText('  ✕', failed, failureLines.length),
  ]
}

/** A failed test in one line. */
export const failureToText = ({
  test,
  question,
  expected,
  got,
  refused: refusal,
}: PlanTests['failures'][number]) =>
  refusal === undefined
    ? `${question}: ${answerToText(got)}, expected: ${answerToText(expected)} (${test})`
    : `${test}: its tuples are refused: ${refusal}`

function answerToText(answer: ModelAnswer = false): string {
  if (typeof answer === 'boolean') return answer ? 'yes' : 'no'
  return 'error' in answer ? answer.error : answer.join(', ') || 'nobody and nothing'
}

/** The text is a person's: nothing in it may move the cursor or hide a line of a terminal. */
export const diffToText = ({ diff, allow_list_diff }: Pick<PlanRead, 'diff' | 'allow_list_diff'>): string =>
  [
    diff === ''
      ? 'The text is that of the model that it was made from.'
      : `What it changes in the text:\n${withoutControls(diff)}`,
    ...when(
      allow_list_diff !== '',
      `What it changes in the allow-list:\n${withoutControls(allow_list_diff)}`,
    ),
  ].join('\n')

const withoutControls = (text: string): string =>
  text.replaceAll(/\p{C}/gu, (character) => (character === '\n' || character === '\t' ? character : '?'))

export function modelToText({ model_id, digest, matches_file, history, awaiting }: ActiveModel): string {
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

/**
 * False: a refusal or a limit came before anything was compared, so that no gain and no loss says nothing.
 */
export const isCompared = ({ complete: isComplete, documents }: Plan): boolean => isComplete || documents > 0

/** What is said of a plan that was not compared. */
export const notCompared = 'It was not compared: who gains and who loses is not known.'

function effectToText(plan: Plan): string[] {
  if (!isCompared(plan)) return [notCompared]
  const { can_read: direct, can_read_delegated: delegated, complete: isComplete } = plan
  const allSides = [direct.gained, direct.lost, delegated.gained, delegated.lost]
  if (allSides.every(({ count }) => count === 0))
    return [`Nobody gains and nobody loses anything${isComplete ? '' : ' in what was compared'}.`]
  return changesToText(plan, ({ samples }) => ({ samples, places: [] }))
}

/** What people by themselves, and agents for them, would gain and lose. */
interface Changes<Side> {
  readonly can_read: { readonly gained: Side; readonly lost: Side }
  readonly can_read_delegated: { readonly gained: Side; readonly lost: Side }
}

/** Each side with what is `shown` of it. */
export function changesToText<Side extends ChangeSide>(
  { can_read: direct, can_read_delegated: delegated }: Changes<Side>,
  shownOf: (side: Side) => Pick<ChangeSide, 'samples'> & { readonly places: readonly string[] },
): string[] {
  const sideToText = (title: string, sign: string, side: Side): string[] => {
    const { count, people, documents } = side
    if (count === 0) return [`${title} nothing.`]
    const { samples, places } = shownOf(side)
    return [
      `${title} ${count}: ${people} of them, ${pluralize(documents, 'document')}`,
      ...places,
      ...samples.map(({ who: subject, document_id }) => `  ${sign} ${subject}  document:${document_id}`),
      ...moreToText(`  ${sign}`, count, samples.length),
    ]
  }
  return [
    ...sideToText('People gain', '+', direct.gained),
    ...sideToText('People lose', '-', direct.lost),
    ...sideToText('Agents gain', '+', delegated.gained),
    ...sideToText('Agents lose', '-', delegated.lost),
  ]
}

function invalidToText({ count, samples }: Plan['invalid_tuples']): string[] {
  if (count === 0) return []
  return [
    `${pluralize(count, 'stored tuple')} would not count any more:`,
    ...samples.map(({ tuple, reason }) => `  ${tuple}  (${reason})`),
    ...moreToText(' ', count, samples.length),
    `  ${staysStored}`,
  ]
}

/** What becomes of tuples that the model would not take. */
export const staysStored =
  'They stay stored: while it is in force nobody can delete them by POST /access, and under a model that takes them they count again. Delete them first.'

/** A plan as a comment on the change that it is about: what must be seen first, the rest folded away. */
export function planToMarkdown(plan: Plan): string {
  const { people, documents, delegations, watermark } = plan
  const isApplicable = plan.complete && plan.refusals.length === 0
  const invalidCount = plan.invalid_tuples.count
  return [
    '### What this change of the authorization model would do',
    '',
    ...when(!isApplicable, '> **It could not come into force as it is.**', ''),
    ...when(
      !plan.complete,
      '> The plan is not complete: somebody who is not named here could gain something.',
      '',
    ),
    ...findings('Refused', plan.refusals),
    ...tests(plan.tests),
    ...(isCompared(plan) ? effect(plan) : [`> **${notCompared}**`, '']),
    ...samples('People gain', plan.can_read.gained),
    ...samples('People lose', plan.can_read.lost),
    ...samples('Agents gain', plan.can_read_delegated.gained),
    ...samples('Agents lose', plan.can_read_delegated.lost),
    ...when(plan.unanswered > 0, unansweredToText(plan.unanswered), ''),
    ...when(
      invalidCount > 0,
      `${pluralize(invalidCount, 'stored tuple')} would not count any more. ${staysStored}`,
      '',
    ),
    ...findings('Warnings', plan.warnings),
    `Tried on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}: ${pluralize(people, 'person', 'people')} and anyone, ${pluralize(documents, 'document')}, ${pluralize(delegations, 'delegation')}. Text with sha256 ${code(plan.digest)}, in place of model ${code(plan.base_model)}.`,
  ].join('\n')
}

const effect = ({ can_read: direct, can_read_delegated: delegated }: Plan): string[] => [
  '| | gain | lose |',
  '|---|---|---|',
  `| people | ${counts(direct.gained)} | ${counts(direct.lost)} |`,
  `| agents, for people | ${counts(delegated.gained)} | ${counts(delegated.lost)} |`,
  '',
]

function tests({ hold, passed, failed, error, failures }: PlanTests): string[] {
  if (hold) return [`The truth table holds: ${pluralize(passed, 'test')}.`, '']
  if (error !== undefined) return [`> **The truth table did not run:** ${code(error)}`, '']
  return [
    `> **${failed} of ${passed + failed} tests of the truth table fail.**`,
    '',
    ...failures.map((failure) => `- ${code(failureToText(failure))}`),
    ...moreToText('-', failed, failures.length),
    '',
  ]
}

const counts = ({ count, people, documents }: ChangeSide): string =>
  count === 0 ? 'nothing' : `**${count}**: ${people} of them, ${pluralize(documents, 'document')}`

function samples(title: string, { count, samples: subjects }: ChangeSide): string[] {
  if (count === 0) return []
  return [
    `<details><summary>${title}</summary>`,
    '',
    ...subjects.map(
      ({ who: subject, document_id }) => `- ${code(subject)} ${code(`document:${document_id}`)}`,
    ),
    ...moreToText('-', count, subjects.length),
    '',
    '</details>',
    '',
  ]
}

function findings(title: string, found: readonly Finding[]): string[] {
  if (found.length === 0) return []
  return [
    `**${title}**`,
    '',
    ...found.map(
      ({ relation, detail, rule }) => `- ${code(relation === '' ? rule : relation)} ${code(detail)}`,
    ),
    '',
  ]
}

/**
 * As letters: names and details hold text of whoever wrote the model or an id, which must draw nothing in a
 * comment.
 */
function code(text: string): string {
  const printable = text.replaceAll(/\p{C}/gu, '?').replaceAll('`', '’')
  return `\`${printable}\``
}
