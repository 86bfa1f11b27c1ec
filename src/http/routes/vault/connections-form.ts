import type { Agreement } from '../../../delegation/vault/connect.ts'
import { partyOf } from '../../pages/party.ts'

type Fields = Readonly<Record<string, unknown>>

/** What the form says that its person agrees to; the feature judges it. */
export const agreementOf = (fields: Fields): Agreement => ({
  parties: many(fields['party']).map(partyOf),
  rules: many(fields['rule']),
})

const many = (value: unknown): string[] =>
  [value].flat().filter((entry): entry is string => typeof entry === 'string')
