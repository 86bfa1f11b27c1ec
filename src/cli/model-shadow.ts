import { pluralize } from '../kernel/pluralize.ts'
/** Answers of `/model/shadow`. */
export interface WireShadow {
  readonly shadow: {
    readonly plan_id: string
    readonly state: string
    readonly started_by: string
    readonly share: number
    readonly started_at: string
    readonly ends_at: string
    readonly asked: number
    readonly gained: number
    readonly lost: number
    readonly errors: number
    readonly dropped: number
  } | null
  readonly differences?: readonly {
    readonly who: string
    readonly document_id: string
    readonly active: string
    readonly candidate: string
    readonly count: number
  }[]
}

export function shadowToText({ shadow, differences = [] }: WireShadow): string {
  if (shadow === null) return 'No planned model has run beside the one in force.'
  const { asked, gained, lost, errors, dropped } = shadow
  return [
    `Plan ${shadow.plan_id}, ${shadow.state} since ${shadow.started_at} until ${shadow.ends_at}, by ${shadow.started_by}, ${shadow.share * 100} % of the questions`,
    `${pluralize(asked, 'pair')} of somebody and a document: ${gained} would be gained, ${lost} lost, ${errors} could not be evaluated, which denies`,
    ...(dropped === 0 ? [] : [`Not looked at: ${pluralize(dropped, 'question')}, as there was no room.`]),
    ...differences.map(
      ({ who, document_id, active, candidate, count }) =>
        `  ${candidate === 'allowed' ? '+' : '-'} ${who}  document:${document_id}  ${active} → ${candidate}, ${pluralize(count, 'time')}`,
    ),
  ].join('\n')
}
