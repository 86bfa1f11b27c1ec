import type { Approval } from '../../approvals/approval.ts'

// RFC 6749 §5.2: an error_description has no other characters. The person's own are in `reason`.
const describable = (text: string): string => text.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')

/** What a denial says to the program, with the person's reason as far as the form can hold it. */
export const denialText = (reason: string | undefined): string =>
  reason === undefined || reason === '' ? 'The person refused.' : `The person refused: ${describable(reason)}`

/** Beside `authorization_pending`: what the person wants to know first, and where the answer goes. */
export function infoRequest({ id, state, rounds }: Approval): object | undefined {
  const question = rounds.at(-1)?.question
  if (state !== 'info_requested' || question === undefined) return undefined
  return { approval: id, question }
}
