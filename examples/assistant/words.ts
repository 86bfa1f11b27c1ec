import { isRemitError, RemitError } from '@remit/client'
import { ModelFailed } from './model.ts'
import type { Order } from './orders.ts'
import type { Bought } from './tools.ts'

/** What the person is told when something did not happen. Not for the model. */
export function problemOf(error: unknown): string {
  if (isRemitError(error, 'approval_denied'))
    return `You said no: nothing was done.${error.data.reason === undefined ? '' : ` (You wrote: ${error.data.reason})`}`
  if (isRemitError(error, 'approval_expired')) return 'Nobody answered in time: nothing was done.'
  if (isRemitError(error, 'approval_pending'))
    return `You asked back: ${error.data.question?.text ?? ''} Nothing was done; say it again with what I should have told you.`
  if (isRemitError(error, 'wrong_person'))
    return 'Somebody else signed in: this conversation is not theirs, and nothing was done.'
  if (isRemitError(error, 'outcome_unknown'))
    return 'Whether it was done nobody knows: look before you repeat it.'
  if (isRemitError(error, 'rate_limited')) return 'You were asked often enough for now: nothing was done.'
  if (error instanceof ModelFailed) return `The model gave no answer: ${error.message}`
  if (error instanceof RemitError) return `Nothing was done (${error.code}): ${error.message}`
  throw error
}

export const resultOf = ({ symbol, limit }: Order, result: Bought): string =>
  'refused' in result
    ? `Nothing was bought: ${result.refused}.`
    : `Bought ${result.bought} ${symbol} at ${Number(limit).toFixed(2)} or less.`
