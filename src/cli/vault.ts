import type { Command } from 'commander'
import { type MachineDeps, printList } from './listing.ts'

/** Commands for the keys by which people's accounts at APIs of others are sealed. */
export function addVaultCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const vault = program.command('vault').description('Works on the keys of the vault.')
  vault
    .command('list')
    .description('Prints how many accounts are sealed by which key.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const { accounts } = await admin.run('vault_list', {})
      printList(terminal, accounts, { json, whenEmpty: 'No accounts.', name: 'provider' })
    })
  vault
    .command('rewrap')
    .description('Wraps every data key by the current key. May be stopped and run again, beside anything.')
    .action(async () => {
      const { to: newKey, rewrapped, left: remaining } = await admin.run('vault_rewrap', {})
      terminal.say(`${String(rewrapped)} data keys are wrapped by ${String(newKey)} from now on.`)
      if (remaining === 0) return
      // Whoever removes the old key on the word of this would lose them.
      throw new Error(
        `${String(remaining)} are wrapped by another key still (remit vault list): run it again once every process has the new settings, and keep the old key until then. What stays cannot be read.`,
      )
    })
}
