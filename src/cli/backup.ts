import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import type { BackupReport } from '../backup/backup.ts'
import type { CheckReport, RestoreReport } from '../backup/restore.ts'
import type { AdminClient } from './admin-client.ts'
import { printFacts } from './listing.ts'
import type { Terminal } from './terminal.ts'

/** What needs the settings of the service, and works beside one that runs or on none. */
export interface Backups {
  backup(to: string, recipient: string): Promise<BackupReport>
  restore(from: string, identity: string): Promise<RestoreReport>
  /** What `restore` looks at in an archive. Writes nothing. */
  check(from: string, identity: string): Promise<CheckReport>
  /** Gives the public half. */
  makeKey(path: string): Promise<string>
}

interface BackupCommandDeps {
  readonly admin: AdminClient
  readonly backups: Backups
  readonly terminal: Terminal
}

/** `backup`, `restore` and `recover`. */
export function addBackupCommands(program: Command, dependencies: BackupCommandDeps): void {
  const { admin, backups, terminal } = dependencies
  const backup = program
    .command('backup')
    .description('Copies the database, and OpenFGA’s, as they are at one instant, encrypted.')
  backup
    .command('take <folder>')
    .description(
      'Makes the folder, which must not be there yet. Writes wait for 10 s at most, or are refused for now; questions never wait.',
    )
    .requiredOption('--recipient <age1…>', 'the public key that it is encrypted to (remit backup key)')
    .option('--json', 'prints the answer as JSON', false)
    .action(async (folder: string, { recipient, json }: { recipient: string; json: boolean }) => {
      const report = await backups.backup(folder, recipient)
      printFacts(terminal, { ...report }, json)
      if (report.not_noted !== undefined)
        terminal.say('The backup is there and whole. Only the table backup_run does not say so.')
    })
  backup
    .command('key <file>')
    .description(
      'Makes a key of age’s, writes it into the file, and prints the public half. Keep the file elsewhere.',
    )
    .action(async (file: string) => terminal.out(await backups.makeKey(file)))
  program
    .command('restore <folder>')
    .description(
      'Fills two empty databases from a backup. Stop the service and OpenFGA first; then remit recover.',
    )
    .requiredOption('--identity <file>', 'the private key')
    .option('--check', 'looks at all of the backup and at the key, and writes nothing', false)
    .option('--json', 'prints the answer as JSON', false)
    .action(async (folder: string, flags: { identity: string; check: boolean; json: boolean }) => {
      if (flags.check) {
        printFacts(terminal, { ...(await backups.check(folder, flags.identity)) }, flags.json)
        terminal.say('It is whole, and this key opens it. Nothing was written.')
        return
      }
      printFacts(terminal, { ...(await backups.restore(folder, flags.identity)) }, flags.json)
      terminal.say('Restored, and closed. Start OpenFGA, then run: remit recover (docs/recovery.md)')
    })

  program
    .command('recover')
    .description(
      'After an older copy of the database or of OpenFGA was put in place: ends what may have ended since, then answers.',
    )
    .option(
      '--anyway',
      'also where nothing shows that one of them is an older copy; ends every agent and delegation too',
      false,
    )
    .option('--against <file>', 'heads of the record that were kept elsewhere (remit audit heads)')
    .addOption(
      new Option(
        '--access <what>',
        'of a restored copy: end takes away all that lets anybody read; keep says that nobody was taken off since',
      ).choices(['end', 'keep']),
    )
    .option('--upgrade', 'also a copy of an earlier version, which then starts on it no more', false)
    .option('--json', 'prints the answer as JSON', false)
    .action(async (flags: RecoverFlags) => {
      const { anyway, against, access, upgrade, json } = flags
      const args = {
        anyway,
        ...(against !== undefined && { heads: await readLines(against) }),
        ...(access !== undefined && { access }),
      }
      const answer = await admin.run('recover', args, { upgradesCopy: upgrade })
      const { agents, ...facts } = answer
      printFacts(terminal, json ? answer : facts, json)
      if (agents !== undefined) sayOfAgents(terminal, z.array(z.string()).parse(agents))
    })
}

const agentsMax = 5

/** The recovery ended what was lent, too. */
function sayOfAgents(terminal: Terminal, agents: readonly string[]): void {
  if (agents.length > 0)
    terminal.say('These agents are disabled now. Enable each that nobody disabled since the copy was made:')
  for (const id of agents.slice(0, agentsMax)) terminal.say(`  remit agent enable ${id}`)
  if (agents.length > agentsMax) terminal.say(`  and ${agents.length - agentsMax} more (remit agent list)`)
  terminal.say('What people lent is over. They lend again at /delegations.')
}

interface RecoverFlags {
  readonly anyway: boolean
  readonly against?: string
  readonly access?: 'end' | 'keep'
  readonly upgrade: boolean
  readonly json: boolean
}

async function readLines(path: string): Promise<unknown[]> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line.trim() !== '')
  return lines.map((line, index) => {
    try {
      return JSON.parse(line) as unknown
    } catch {
      throw new Error(`Line ${index + 1} of ${path} is not JSON.`)
    }
  })
}
