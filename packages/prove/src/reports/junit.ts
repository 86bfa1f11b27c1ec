import type { Finding, Report } from '../report.ts'

export function toJunit({ endpoint, checks, findings, seconds }: Report): string {
  const cases = checks.map(({ id, claim, state, notes }) => {
    const own = findings.filter(({ check }) => check === id)
    const broken = own
      .map(
        ({ kind, message, ...names }) =>
          `<failure type="${kind}" message="${escaped(message)}">${escaped(textOf(names))}</failure>`,
      )
      .join('')
    const skipped = state === 'not_tried' ? `<skipped message="${escaped(notes.join('; '))}"/>` : ''
    const error = state === 'inconclusive' ? `<error message="${escaped(notes.join('; '))}"/>` : ''
    return `<testcase classname="remit-prove.${id}" name="${escaped(claim)}">${broken}${skipped}${error}</testcase>`
  })
  const count = (state: string): number => checks.filter((check) => check.state === state).length
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite name="remit-prove ${escaped(endpoint)}" tests="${checks.length}" failures="${count('broken')}" errors="${count('inconclusive')}" skipped="${count('not_tried')}" time="${seconds}">`,
    ...cases,
    '</testsuite>',
    '',
  ].join('\n')
}

/** The digests alone: what stands beside them is said already. */
const textOf = ({ person, document, question }: Partial<Finding>): string =>
  Object.entries({ person, document, question })
    .flatMap(([name, digest]) => (digest === undefined ? [] : [`${name} ${digest}`]))
    .join(', ')

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
