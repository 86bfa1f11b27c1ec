import { Command, CommanderError, Option } from 'commander'
import { ZodError, z } from 'zod'
import { roles } from '../delegation/administration/administrators.ts'
import type { Resource } from '../delegation/tokens/issuers.ts'
import { AppError } from '../kernel/errors.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { firstIssue } from '../kernel/validation-message.ts'
import { version } from '../kernel/version.ts'
import { addLoginCommands } from './as-person.ts'
import { addAuditCommands, printThread, traceForm } from './audit.ts'
import { addBackupCommands } from './backup.ts'
import type { DemoTokens } from './demo-tokens.ts'
import type { CliDeps } from './deps.ts'
import { addDirectoryCommands } from './directory.ts'
import { addDoctorCommand } from './doctor.ts'
import { failureCode } from './exit-code.ts'
import { addExplainCommands } from './explain.ts'
import { bare, repeatable, typed } from './ids.ts'
import { addImportCommand } from './import.ts'
import { addIngestCommand } from './ingest.ts'
import { addIssuerCommands } from './issuer.ts'
import { addJobCommands } from './jobs.ts'
import { addList, printFacts } from './listing.ts'
import { addMcpCommands } from './mcp/command.ts'
import { addModelCommands } from './model.ts'
import { addRegistryCommands, addResourceCommands, addVaultCommands } from './registry.ts'
import { addSourceCommands } from './sources.ts'
import { addWhatIfCommand } from './what-if.ts'

const driftForm = z.object({ requestOnly: z.int(), adopted: z.boolean() })

/**
 * Runs one command line (without node and script) and returns the exit code: 0 only if all went well, and by
 * docs/versions.md else.
 */
export async function runCli(argv: readonly string[], dependencies: CliDeps): Promise<number> {
  const outcome = { ok: true }
  const program = createProgram(dependencies, outcome)
  const [name] = argv
  if (name === undefined) {
    dependencies.terminal.out(program.helpInformation().trimEnd())
    return 0
  }
  try {
    // Else `remit group --help` would be the help of all of it.
    if (
      !name.startsWith('-') &&
      ![...program.commands.map((command) => command.name()), 'help'].includes(name)
    )
      await program.parseAsync([name], { from: 'user' })
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) dependencies.terminal.say(messageOf(error))
    else if (error.exitCode === 0) return 0
    // What was found wrong before it failed is wrong all the same.
    return outcome.ok ? failureCode(argv) : 1
  }
  return outcome.ok ? 0 : 1
}

function messageOf(error: unknown): string {
  if (error instanceof AppError) return error.public ?? error.message
  if (error instanceof ZodError) {
    const { path, says } = firstIssue(error)
    return `The service answered what this command cannot read: ${path.join('.')}: ${says}`
  }
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && error.code === 'ENOENT' && 'path' in error)
    return `There is no file ${String(error.path)}.`
  // fetch says "fetch failed"; why stands in its cause.
  const { message, cause } = error
  return message === 'fetch failed' && cause instanceof Error
    ? `The service does not answer (${cause.message}). Start it with npm start, or name its address with --url, PORT or PUBLIC_URL.`
    : message
}

function createProgram(dependencies: CliDeps, outcome: { ok: boolean }): Command {
  const { admin, terminal } = dependencies
  const program = new Command('remit')
    .description('Commands for the operator of a Remit service.')
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.say(text.trimEnd()),
    })

  program
    .command('demo')
    .description('Starts the service with its demo company. Ctrl-C stops it.')
    .action(() => dependencies.serve(true))
  program
    .command('start')
    .description('Starts the service, as its settings say. Ctrl-C stops it.')
    .action(() => dependencies.serve(false))

  addLoginCommands(program, dependencies)
  addMcpCommands(program, dependencies)

  program
    .command('token')
    .description('Prints an access token of the demo: a person’s, an agent’s for a person, or a service’s.')
    .option('--user <user>', 'the person, for example anne', bare('user'))
    .option('--agent <agent>', 'the agent that acts for the person', bare('agent'))
    .option('--service <name>', 'the service', bare('service'))
    .option('--scope <scopes>', 'narrows, for example "docs.search docs.read"')
    .addOption(new Option('--resource <resource>', 'where it counts').choices(['api', 'mcp']).default('api'))
    .action(async (flags: TokenFlags) => terminal.out(await tokenFor(flags, dependencies.demoTokens)))

  addRegistryCommands(program, dependencies)
  addDirectoryCommands(program, dependencies)

  const admins = program.command('admin').description('Works on administrators.')
  admins
    .command('add <subject>')
    .description('Adds roles to those that a person has.')
    .addOption(
      new Option('--role <role>', `${roles.join(', ')}; repeat for more`)
        .argParser(repeatable())
        .makeOptionMandatory(),
    )
    .action(async (input: string, { role }: { readonly role: string[] }) => {
      const subject = typed('user')(input)
      const answer = await admin.run('admin_add', { subject, roles: role })
      terminal.say(`${subject}: ${String(answer['roles'])}`)
    })
  admins
    .command('remove <subject>')
    .description('Takes roles back, all of them where none is named, from the next request on.')
    .option('--role <role>', `${roles.join(', ')}; repeat for more`, repeatable())
    .action(async (input: string, { role }: { readonly role?: string[] }) => {
      const subject = typed('user')(input)
      const answer = await admin.run('admin_remove', { subject, ...(role !== undefined && { roles: role }) })
      terminal.say(`${subject}: ${String(answer['roles']) || 'no role'}`)
    })
  addList(admins, { admin, terminal }, 'administrator', {
    description: 'Prints every administrator.',
    whenEmpty: 'No administrators.',
  })

  addIssuerCommands(program, dependencies)
  addResourceCommands(program, dependencies)
  addVaultCommands(program, dependencies)
  program
    .command('trace <id>')
    .description(
      'Prints what is on record of one action (its txn) or of one trace: every answer, approval and request.',
    )
    .option('--json', 'one line of JSON each', false)
    .action(async (id: string, { json }: { readonly json: boolean }) =>
      printThread(terminal, traceForm.parse(await admin.run('trace', { id })), { id, json }),
    )
  addAuditCommands(program, dependencies, outcome)

  addBackupCommands(program, dependencies)

  program
    .command('drift')
    .description('Compares access tags with OpenFGA now, mends, and prints what it found.')
    .option('--json', 'prints it as JSON', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const answer = await admin.run('drift', {})
      const { requestOnly, adopted: isAdopted } = driftForm.parse(answer)
      outcome.ok &&= requestOnly === 0
      printFacts(terminal, answer, json)
      if (!isAdopted) throw new Error('Members and writers were not compared: not all are taken over yet.')
    })

  program
    .command('reembed')
    .description(
      'Makes all vectors anew with the configured model, or those that lack. Stop the service first.',
    )
    .action(async () => {
      const { model, passages, replaced } = await dependencies.reembed((doneCount, total) =>
        terminal.progress(doneCount, total, 'passages'),
      )
      terminal.say(
        passages === 0 && !replaced
          ? `Every passage has its vector of ${model} already.`
          : `${pluralize(passages, 'passage')} got a vector of ${model}. Start the service: npm start`,
      )
    })

  addDoctorCommand(program, dependencies, outcome)
  addIngestCommand(program, dependencies, outcome)
  addImportCommand(program, dependencies, outcome)
  addJobCommands(program, dependencies, outcome)
  addSourceCommands(program, dependencies)
  addModelCommands(program, dependencies, outcome)
  addExplainCommands(program, dependencies)
  addWhatIfCommand(program, dependencies)
  return program
}

interface TokenFlags {
  readonly user?: string
  readonly agent?: string
  readonly service?: string
  readonly scope?: string
  readonly resource: Resource
}

async function tokenFor(flags: TokenFlags, demoTokens: DemoTokens): Promise<string> {
  const { user, agent, service, scope, resource } = flags
  const options = {
    resource,
    ...(scope !== undefined && { scopes: scope.split(/\s+/).filter((scopeName) => scopeName !== '') }),
  }
  if (user === undefined && service !== undefined) {
    if (agent !== undefined) throw new Error('A service has no agent: name --agent with --user.')
    return demoTokens.service({ service, ...options })
  }
  if (user === undefined || service !== undefined) throw new Error('Name either --user or --service.')
  return agent === undefined
    ? demoTokens.person({ user, ...options })
    : demoTokens.agent({ user, agent, ...options })
}
