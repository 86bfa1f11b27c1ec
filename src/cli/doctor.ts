import type { Command } from 'commander'
import type { Finding } from '../doctor/finding.ts'
import { printable } from '../kernel/printable.ts'
import type { CliDeps } from './deps.ts'

/** `remit doctor`: every finding on a line, and status 1 where one is a problem. What is down is one. */
export function addDoctorCommand(
  program: Command,
  { terminal, examine }: Pick<CliDeps, 'terminal' | 'examine'>,
  outcome: { ok: boolean },
): void {
  program
    .command('doctor')
    .description('Looks at every part of the service, says what it found and what to do. Changes nothing.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const found = await examine()
      for (const one of found) terminal.out(json ? JSON.stringify(one) : lineOf(one))
      if (found.some(({ status }) => status === 'problem')) outcome.ok = false
    })
}

const lineOf = ({ part, status, says, remedy }: Finding): string =>
  `${status.padEnd(7)}  ${part}: ${printable(says)}${remedy === undefined ? '' : `\n         → ${printable(remedy)}`}`
