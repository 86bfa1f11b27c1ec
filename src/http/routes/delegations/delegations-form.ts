import { text } from '@remit/contract/text'
import type { DelegationDraft } from '../../../delegation/lending/own-delegations.ts'
import { invalid } from '../../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import type { Tried } from '../../pages/delegations.ts'

/** The lend form as it was filled in. */
export function lendFormOf(fields: Readonly<Record<string, unknown>>): Tried & { readonly once: string } {
  return {
    agent: textOf(fields['agent']),
    objects: many(fields['object']),
    more: textOf(fields['more']),
    subAgents: many(fields['sub_agent']),
    seconds: textOf(fields['seconds']),
    purpose: textOf(fields['purpose']),
    standing: textOf(fields['standing']) === 'yes',
    once: textOf(fields['once']),
  }
}

/** What it asks for; the feature judges it. */
export function wishOf(
  { agent, objects, more: typedObjects, subAgents, seconds, purpose, standing: isStanding }: Tried,
  { now, id }: { readonly now: number; readonly id: string },
): DelegationDraft {
  const typed = typedObjects.split(/\s+/).filter((line) => line !== '')
  const scope = [...objects, ...typed].filter(
    (object): object is FgaObject => splitObject(object).type !== '',
  )
  if (objects.length + typed.length === 0) throw invalid('scope', 'Choose what to lend.')
  const unnamed = typed.find((line) => !/^(folder|document|collection|organization):./.test(line))
  if (unnamed !== undefined)
    throw invalid('scope', `Write folder:${unnamed} for a folder, or document:${unnamed} for a document.`)
  if (scope.length < objects.length + typed.length) throw invalid('scope', 'Choose what to lend.')
  if (!/^\d{1,9}$/.test(seconds)) throw invalid('seconds', 'Choose an end.')
  const purposeText = text(1, 500).safeParse(purpose)
  if (!purposeText.success) throw invalid('purpose', 'Say in at most 500 characters what it is for.')
  return {
    id,
    agent,
    scope,
    subAgents: subAgents.filter((sub) => sub !== agent),
    purpose: purposeText.data,
    standing: isStanding,
    expiresAt: new Date(now + Number(seconds) * 1_000),
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const many = (value: unknown): string[] =>
  [value].flat().filter((entry): entry is string => typeof entry === 'string')
