import type { Refusal } from '../../../delegation/approvals/decide.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'

/** Why nothing was decided, in words for the person. */
export const refusalWords: Readonly<Record<Refusal, string>> = {
  not_found: 'There is no such question for you.',
  over: 'This is over: it was answered already, or its time has ended.',
  changed: 'Something of this has changed since you looked. Nothing was decided: look again.',
  needs_verification:
    'Show that it is you who sits here: this takes a passkey of yours, of the last 5 minutes.',
  not_offered: 'That is not what is shown here. Nothing was decided.',
  not_plain: 'Write it on one line, in plain characters, at most 500.',
  too_many_rounds: 'You have asked as often as you can: approve or refuse.',
  question_open: 'The agent has yet to answer what you asked.',
}

/** Members of a decision as they are on the wire. */
const wireFields: Readonly<Record<string, string>> = {
  documentIds: 'documents',
  until: 'until',
  remember: 'remember',
  oneUse: 'one_use',
}

/** For a program. */
export function refusalAsError(reason: Refusal, detail: string | undefined): AppError {
  const wording = refusalWords[reason]
  switch (reason) {
    case 'not_found':
      return new AppError('not_found')
    case 'needs_verification':
      return new AppError('insufficient_user_authentication', { public: wording })
    case 'not_offered':
      return invalid(wireFields[detail ?? ''] ?? 'decision', wording)
    case 'not_plain':
      return invalid(detail ?? 'decision', wording)
    case 'over':
    case 'changed':
    case 'too_many_rounds':
    case 'question_open':
      return new AppError('conflict', { public: wording })
  }
}
