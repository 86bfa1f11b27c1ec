import type { Report } from '../report.ts'

/** SARIF 2.1.0: a rule for each check, a result for each finding. */
export function toSarif({ version, endpoint, run, seed, trace, checks, findings }: Report): string {
  const log = {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'remit-prove',
            version,
            rules: checks.map(({ id, claim }) => ({ id, shortDescription: { text: claim } })),
          },
        },
        automationDetails: { id: `remit-prove/${endpoint}/${run}` },
        properties: { seed, trace, checks },
        results: findings.map(({ check, kind, message, ...names }) => ({
          ruleId: check,
          level: 'error',
          kind: 'fail',
          message: { text: message },
          locations: [{ logicalLocations: [{ name: endpoint, kind: 'resource' }] }],
          properties: { kind, ...names },
        })),
      },
    ],
  }
  return `${JSON.stringify(log, null, 2)}\n`
}
