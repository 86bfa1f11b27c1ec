import type { Check, Report } from '../report.ts'

export function toText(report: Report): string {
  const { endpoint, run, seed, trace, requests, passages, seconds, checks, findings, left } = report
  return [
    `remit-prove: ${endpoint}, run ${run}, seed ${seed}, trace ${trace}`,
    `${requests} requests, ${passages} passages, ${seconds.toFixed(1)} s`,
    '',
    ...checks.flatMap((check) => [line(check), ...check.notes.map((note) => `          ${note}`)]),
    '',
    ...findings.map(({ check, kind, message, person, document, question }) =>
      [
        `${kind}: ${check}: ${message}`,
        person && `person ${person}`,
        document && `document ${document}`,
        question && `question ${question}`,
      ]
        .filter(Boolean)
        .join(' '),
    ),
    ...left.map((document) => `It could not be removed: ${document}`),
    findings.length > 0
      ? `${findings.length} findings.`
      : checks.some(({ state }) => state === 'inconclusive')
        ? 'Nothing was found, but not all could be told.'
        : 'Nothing was found.',
    '',
  ].join('\n')
}

function line({ id, state, claim, trials, failures, unit, upper95, p }: Check): string {
  const figures = [
    `${failures} of ${trials} ${unit}`,
    upper95 === null ? '' : `rate below ${upper95.toPrecision(2)} (95 %)`,
    p === null ? '' : `p = ${p.toPrecision(2)}`,
  ].filter(Boolean)
  return `${state.replace('_', ' ').padEnd(12)} ${id}: ${claim}${trials > 0 ? ` ${figures.join(', ')}.` : ''}`
}
