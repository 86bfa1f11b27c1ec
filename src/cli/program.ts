import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { roles } from '../delegation/administration/administrators.ts'
import type { Resource } from '../delegation/tokens/issuers.ts'
import { AppError } from '../kernel/errors.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { addAuditCommands } from './audit.ts'
import type { DemoTokens } from './demo-tokens.ts'
import type { CliDeps } from './deps.ts'
import { addExplainCommands } from './explain.ts'
import { anyType, bare, repeatable, typed } from './ids.ts'
import { importFile } from './import.ts'
import { ingestFolder } from './ingest.ts'
import { addIssuerCommands } from './issuer.ts'
import { printFacts, printList } from './listing.ts'
import { addLoginCommands } from './login.ts'
import { addMcpCommands } from './mcp/command.ts'
import { addModelCommands } from './model.ts'
import { addRegistryCommands } from './registry.ts'
import { addResourceCommands } from './resources.ts'
import { addTraceCommand } from './trace.ts'
import { addVaultCommands } from './vault.ts'
import { addWhatIfCommand } from './what-if.ts'
import { type WriterFlags, writerFor } from './writer.ts'

/** Runs one command line (without node and script) and returns the exit code: 0 only if all went well. */
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
    if (error instanceof CommanderError) return error.exitCode
    dependencies.terminal.say(messageOf(error))
    return 1
  }
  return outcome.ok ? 0 : 1
}

function messageOf(error: unknown): string {
  if (error instanceof AppError) return error.public ?? error.message
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
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.say(text.trimEnd()),
    })

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

  const admins = program.command('admin').description('Works on administrators.')
  admins
    .command('add <subject>')
    .description('Gives a person roles, keeping those that they have.')
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
  admins
    .command('list')
    .description('Prints every administrator.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json }: { readonly json: boolean }) =>
      printList(terminal, (await admin.run('admin_list', {}))['administrators'], {
        json,
        whenEmpty: 'No administrators.',
        name: 'administrator',
      }),
    )

  addIssuerCommands(program, dependencies)
  addResourceCommands(program, dependencies)
  addVaultCommands(program, dependencies)
  addTraceCommand(program, dependencies)
  addAuditCommands(program, dependencies, outcome)

  program
    .command('recover')
    .description(
      'After an older copy of the database or of OpenFGA was put in place: ends what may have ended since, then answers.',
    )
    .option('--anyway', 'also where nothing shows that one of them is an older copy', false)
    .option('--json', 'prints the answer as JSON', false)
    .action(async ({ anyway, json }: { readonly anyway: boolean; readonly json: boolean }) =>
      printFacts(terminal, await admin.run('recover', { anyway }), json),
    )

  program
    .command('drift')
    .description('Compares access tags with OpenFGA now, mends, and prints what it found.')
    .option('--json', 'prints it as JSON', false)
    .action(async ({ json }: { readonly json: boolean }) =>
      printFacts(terminal, await admin.run('drift', {}), json),
    )

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

  program
    .command('ingest <folder>')
    .description('Puts a folder’s documents into a collection.')
    .requiredOption('--collection <id>', 'where they are filed', bare('collection'))
    .option('--owner <user>', 'for example user:anne', typed('user'))
    .option(
      '--viewer <subject>',
      'for example user:anne or group:eng#member; repeat for more',
      repeatable(viewer),
      [],
    )
    .option(
      '--parent <object>',
      'folder or collection whose readers may read; repeat for more',
      repeatable(parent),
      [],
    )
    .option('--no-readers', 'nobody may read them, nor what is there already of them')
    .option('--prefix <prefix>', 'put before each path to make its id (default: the collection and a slash)')
    .option(
      '--base-url <url>',
      'where the files lie for whoever follows a citation: each has this and its path',
      webAddress,
    )
    .option('--service <name>', 'service that writes (demo)', bare('service'))
    .option(
      '--client <id>',
      'client of the service that writes (not the demo), with --key; or set REMIT_TOKEN',
    )
    .option('--key <file>', 'private key of the client, a JWK: a token is renewed by it before it ends')
    .option('--url <url>', 'address of the service')
    .action(async (folder: string, flags: IngestFlags) => {
      const {
        collection,
        owner,
        viewer: viewers,
        parent: parents,
        prefix = `${collection}/`,
        baseUrl,
      } = flags
      assertReaders(flags)
      outcome.ok = await ingestFolder(
        {
          folder,
          collection,
          viewers,
          parents,
          prefix,
          ...(owner !== undefined && { owner }),
          ...(baseUrl !== undefined && { baseUrl }),
        },
        {
          to: writerFor(flags, dependencies),
          terminal,
          now: dependencies.now,
          stopping: dependencies.whenInterrupted?.() ?? new AbortController().signal,
        },
      )
    })

  program
    .command('import <file>')
    .description('Imports an NDJSON file of documents.')
    .addOption(
      new Option('--mode <mode>', 'snapshot: what the file does not list is withdrawn').choices(['snapshot']),
    )
    .option('--collection <id>', 'collection of the snapshot', bare('collection'))
    .option('--allow-empty', 'lets an empty snapshot withdraw all, within --allow-withdraw', false)
    .option(
      '--allow-withdraw <n>',
      'how many documents may go where they are more than half of the collection (else none go, and it says how many would)',
      count,
    )
    .option('--service <name>', 'service that writes (demo)', bare('service'))
    .option(
      '--client <id>',
      'client of the service that writes (not the demo), with --key; or set REMIT_TOKEN',
    )
    .option('--key <file>', 'private key of the client, a JWK: a token is renewed by it before it ends')
    .option('--url <url>', 'address of the service')
    .action(async (file: string, flags: ImportFlags) => {
      if ((flags.mode === undefined) !== (flags.collection === undefined)) {
        throw new Error('--mode snapshot and --collection belong together.')
      }
      outcome.ok = await importFile(
        {
          file,
          allowEmpty: flags.allowEmpty,
          ...(flags.collection !== undefined && { snapshotOf: flags.collection }),
          ...(flags.allowWithdraw !== undefined && { allowWithdraw: flags.allowWithdraw }),
        },
        { to: writerFor(flags, dependencies), terminal, newKey: dependencies.newKey },
      )
    })

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

interface IngestFlags extends WriterFlags {
  readonly collection: string
  readonly owner?: string
  readonly viewer: string[]
  readonly parent: string[]
  /** False: --no-readers. */
  readonly readers: boolean
  readonly prefix?: string
  readonly baseUrl?: string
}

interface ImportFlags extends WriterFlags {
  readonly mode?: string
  readonly allowEmpty: boolean
  readonly allowWithdraw?: number
}

const viewer = anyType('user:anne', 'group:eng#member')
const parent = anyType('collection:handbook', 'folder:plans')

/** What is sent replaces who may read: saying nothing would take the documents from all their readers. */
function assertReaders({ owner, viewer, parent, readers }: IngestFlags): void {
  const named = owner !== undefined || viewer.length > 0 || parent.length > 0
  if (named !== readers)
    throw new Error(
      'Name who may read the documents with --owner, --viewer or --parent, or say --no-readers. Who could read them before can no more, unless named again.',
    )
}

function webAddress(value: string): string {
  if (!/^https?:$/.test(URL.parse(value)?.protocol ?? ''))
    throw new InvalidArgumentError('An http or https address is needed.')
  return value
}

function count(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError('A number is needed.')
  return Number(value)
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
