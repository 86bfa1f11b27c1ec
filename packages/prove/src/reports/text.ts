import { probes } from '../prove.ts'
import type { Check, Finding, Report } from '../report.ts'

export function toText(report: Report): string {
  const { endpoint, run, seed, trace, requests, passages, seconds, checks, findings, left } = report
  return [
    `remit-prove: ${endpoint}, run ${run}, seed ${seed}, trace ${trace}`,
    `${requests} requests, ${passages} passages, ${seconds.toFixed(1)} s`,
    '',
    ...checks.flatMap((check) => [line(check), ...check.notes.map((note) => `          ${note}`)]),
    '',
    ...ofOneKind(findings).flatMap((alike) => {
      const more = alike.length - shown
      return [...alike.slice(0, shown).map(saying), ...(more > 0 ? [`… and ${more} more like these.`] : [])]
    }),
    ...left.map((document) => `It could not be removed: ${document}`),
    findings.length > 0 ? `${findings.length} findings.` : `Nothing was found ${byHowMany(checks)}`,
    '',
  ].join('\n')
}

/** One defect shows in many answers. The other reports list them all. */
const shown = 3

function ofOneKind(findings: readonly Finding[]): Finding[][] {
  const kinds = new Map<string, Finding[]>()
  for (const one of findings) {
    const of = `${one.check} ${one.message.replaceAll(/\d+/g, '0')}`
    kinds.set(of, [...(kinds.get(of) ?? []), one])
  }
  return [...kinds.values()]
}

const saying = ({ check, kind, message, person, document, question }: Finding): string =>
  [
    // The check of this kind has its name.
    `${kind === check ? kind : `${kind}: ${check}`}: ${message}`,
    person && `person ${person}`,
    document && `document ${document}`,
    question && `question ${question}`,
  ]
    .filter(Boolean)
    .join(' ')

/** Of all there are: what was left out by `--only`, or after the run ended early, was not tried either. */
function byHowMany(checks: readonly Check[]): string {
  const all = [...probes.map(({ id }) => id), 'hidden-words']
  const inState = (wanted: Check['state']) =>
    checks.filter(({ state }) => state === wanted).map(({ id }) => id)
  const [held, unsure] = [inState('held'), inState('inconclusive')]
  const rest = all.filter((id) => !held.includes(id) && !unsure.includes(id))
  return `by ${held.length} of ${all.length} checks${rest.length > 0 ? `; ${rest.length} not tried (${rest.join(', ')})` : ''}${unsure.length > 0 ? `; ${unsure.length} could not tell` : ''}.`
}

function line({ id, state, claim, trials, failures, unit, upper95, p }: Check): string {
  const figures = [
    // Where p decides, "0 of" would read as held.
    p !== null && failures === 0 ? `${trials} ${unit}` : `${failures} of ${trials} ${unit}`,
    upper95 === null || state === 'broken' ? '' : `rate below ${percent(upper95)} (with 95 % confidence)`,
    p === null ? '' : `p = ${p.toPrecision(2)}`,
  ].filter(Boolean)
  return `${state.replace('_', ' ').padEnd(12)} ${id}: ${claim}${trials > 0 ? ` ${figures.join(', ')}.` : ''}`
}

const percent = (rate: number): string => `${Number((rate * 100).toPrecision(2))} %`
