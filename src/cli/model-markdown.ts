import { pluralize } from '../kernel/pluralize.ts'
import {
  type Finding,
  failureToText,
  isCompared,
  notCompared,
  type Side,
  staysStored,
  type WirePlan,
  type WireTests,
} from './model-plan.ts'

/** A plan as a comment on the change that it is about: what must be seen first, the rest folded away. */
export function planToMarkdown(plan: WirePlan): string {
  const { people, documents, delegations, watermark } = plan
  const isApplicable = plan.complete && plan.refusals.length === 0
  return [
    '### What this change of the authorization model would do',
    '',
    ...(isApplicable ? [] : ['> **It could not come into force as it is.**', '']),
    ...(plan.complete
      ? []
      : ['> The plan is not complete: somebody who is not named here could gain something.', '']),
    ...findings('Refused', plan.refusals),
    ...tests(plan.tests),
    ...(isCompared(plan) ? effect(plan) : [`> **${notCompared}**`, '']),
    ...samples('People gain', plan.can_read.gained),
    ...samples('People lose', plan.can_read.lost),
    ...samples('Agents gain', plan.can_read_delegated.gained),
    ...samples('Agents lose', plan.can_read_delegated.lost),
    ...(plan.unanswered === 0
      ? []
      : [`${pluralize(plan.unanswered, 'question')} could not be answered, which denies.`, '']),
    ...(plan.invalid_tuples.count === 0
      ? []
      : [
          `${pluralize(plan.invalid_tuples.count, 'stored tuple')} would not count any more. ${staysStored}`,
          '',
        ]),
    ...findings('Warnings', plan.warnings),
    `Tried on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}: ${pluralize(people, 'person', 'people')} and anyone, ${pluralize(documents, 'document')}, ${pluralize(delegations, 'delegation')}. Text with sha256 ${code(plan.digest)}, in place of model ${code(plan.base_model)}.`,
  ].join('\n')
}

const effect = ({ can_read: direct, can_read_delegated: delegated }: WirePlan): string[] => [
  '| | gain | lose |',
  '|---|---|---|',
  `| people | ${counts(direct.gained)} | ${counts(direct.lost)} |`,
  `| agents, for people | ${counts(delegated.gained)} | ${counts(delegated.lost)} |`,
  '',
]

function tests({ hold, passed, failed, error, failures }: WireTests): string[] {
  if (hold) return [`The truth table holds: ${pluralize(passed, 'test')}.`, '']
  if (error !== undefined) return [`> **The truth table did not run:** ${code(error)}`, '']
  return [
    `> **${failed} of ${passed + failed} tests of the truth table fail.**`,
    '',
    ...failures.map((failure) => `- ${code(failureToText(failure))}`),
    ...(failed > failures.length ? [`- and ${failed - failures.length} more`] : []),
    '',
  ]
}

const counts = ({ count, people, documents }: Side): string =>
  count === 0 ? 'nothing' : `**${count}**: ${people} of them, ${pluralize(documents, 'document')}`

function samples(title: string, { count, samples: subjects }: Side): string[] {
  if (count === 0) return []
  const unlisted = count - subjects.length
  return [
    `<details><summary>${title}</summary>`,
    '',
    ...subjects.map(
      ({ who: subject, document_id }) => `- ${code(subject)} ${code(`document:${document_id}`)}`,
    ),
    ...(unlisted > 0 ? [`- and ${unlisted} more`] : []),
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

/** As letters: names and details hold text of whoever wrote the model or an id, which must draw nothing in a comment. */
function code(text: string): string {
  const printable = text.replaceAll(/\p{C}/gu, '?').replaceAll('`', '’')
  return `\`${printable}\``
}
