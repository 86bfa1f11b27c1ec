import type { Decision } from '../../../delegation/approvals/decide.ts'
import type { RequestedAccess } from '../../../delegation/approvals/requested-access.ts'
import { invalid } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { TriedAnswer } from '../../pages/approval-answers.ts'

type Fields = Readonly<Record<string, unknown>>

/** The answer's form as it was filled in. */
export const answerFormOf = (fields: Fields): TriedAnswer => {
  const extent = textOf(fields['extent'])
  return {
    documents: textOf(fields['decision']) === 'approve' ? many(fields['document']) : undefined,
    extent: extent === '' ? 'once' : extent,
    seconds: textOf(fields[extent === 'while' ? 'while_seconds' : 'seconds']),
    place: textOf(fields['place']),
    rememberSeconds: textOf(fields['remember_seconds']),
    // A form's line may have been pasted with spaces around it.
    reason: textOf(fields['reason']).trim(),
    blocks: textOf(fields['block']) === 'yes',
    question: textOf(fields['question']).trim(),
  }
}

/** What it says; the feature judges it. A form always names its documents: none ticked is none, not all of them. */
export function decisionIn(
  decision: unknown,
  attempt: TriedAnswer,
  { kind, now }: { readonly kind: RequestedAccess['kind']; readonly now: number },
): Decision {
  switch (decision) {
    case 'ask':
      return { answer: 'ask', question: attempt.question }
    case 'deny':
      return {
        answer: 'deny',
        block: attempt.blocks,
        ...(attempt.reason !== '' && { reason: attempt.reason }),
      }
    case 'approve':
      return { answer: 'approve', ...yesOf(attempt, { kind, now }) }
    default:
      throw invalid('decision', 'Approve, refuse or ask.')
  }
}

/**
 * Refusing takes no recent sign-in, but its words reach the agent with one alone: whoever stole a session could else tell a
 * program what to do.
 */
export const withoutUnverifiedReason = (decision: Decision, isRecent: boolean): Decision =>
  isRecent || decision.answer !== 'deny' ? decision : { answer: 'deny', block: decision.block ?? false }

function yesOf(
  { documents, extent, seconds, place: folder, rememberSeconds }: TriedAnswer,
  { kind, now }: { readonly kind: RequestedAccess['kind']; readonly now: number },
) {
  if (kind === 'access') return {}
  const documentIds = documents ?? []
  if (kind === 'vault_call') return { until: endOf(seconds, now) }
  switch (extent) {
    case 'once':
      return { documentIds, oneUse: true, until: endOf(seconds, now) }
    case 'while':
      return { documentIds, oneUse: false, until: endOf(seconds, now) }
    case 'remember':
      return { documentIds, remember: { object: folder as FgaObject, until: endOf(rememberSeconds, now) } }
    default:
      throw invalid('extent', 'Choose how far it goes.')
  }
}

function endOf(seconds: string, now: number): Date {
  if (!/^\d{1,8}$/.test(seconds)) throw invalid('seconds', 'Choose for how long.')
  return new Date(now + Number(seconds) * 1_000)
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const many = (value: unknown): string[] =>
  [value].flat().filter((entry): entry is string => typeof entry === 'string')
