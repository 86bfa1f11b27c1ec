import type { Command } from 'commander'
import type { AdminClient } from './admin-client.ts'
import { printList } from './listing.ts'
import type { Terminal } from './terminal.ts'

/** `trace`: one action from its first record to its last. */
export function addTraceCommand(
  program: Command,
  { admin, terminal }: { readonly admin: AdminClient; readonly terminal: Terminal },
): void {
  program
    .command('trace <txn>')
    .description('Prints what is on record of one action: every answer, approval and request of its txn.')
    .option('--json', 'one line of JSON each', false)
    .action(async (txn: string, { json }: { readonly json: boolean }) =>
      printList(terminal, (await admin.run('trace', { txn }))['steps'], {
        json,
        whenEmpty: `Nothing is on record under ${txn}.`,
        name: 'step',
      }),
    )
}
