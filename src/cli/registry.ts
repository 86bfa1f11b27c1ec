import { type Command, Option } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { bare, repeatable } from './ids.ts'
import { addList, type MachineDeps, printList } from './listing.ts'

interface CollectionFlags {
  readonly title?: string
  readonly organization?: string
  /** Left out: as it is. */
  readonly publicAllowed?: boolean
}

interface ServiceFlags {
  readonly collection: string[]
  readonly prefix: string[]
}

/** Commands for collections, the services that write to them, and hosts of which no program comes. */
export function addRegistryCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const collections = program.command('collection').description('Works on collections.')
  collections
    .command('add <id>')
    .description('Adds a collection, or changes what is named of one that is there.')
    .option('--title <title>', 'what people call it; needed for a new one')
    .option('--organization <id>', 'organization that it belongs to', bare('organization'))
    .option('--public-allowed', 'documents in it may be readable by everyone')
    .option('--no-public-allowed', 'they may not (a new one: unless said)')
    .action(async (input: string, options: CollectionFlags) => {
      const id = bare('collection')(input)
      const { title, organization, publicAllowed } = options
      const answer = await admin.run('collection_add', {
        id,
        ...(title !== undefined && { title }),
        ...(organization !== undefined && { organization }),
        ...(publicAllowed !== undefined && { public_allowed: publicAllowed }),
      })
      terminal.say(`The collection ${id} is there.`)
      if (answer['organization_known'] === false)
        terminal.say(`Note: nothing is known of an organization ${organization} yet.`)
    })
  addList(collections, { admin, terminal }, 'collection', {
    description: 'Prints every collection.',
    whenEmpty: 'No collections.',
  })

  const services = program.command('service').description('Works on services.')
  services
    .command('add <name>')
    .description('Registers a service with exactly these collections and prefixes.')
    .option(
      '--collection <id>',
      'may write and tag here; repeat for more',
      repeatable(bare('collection')),
      [],
    )
    .option(
      '--prefix <prefix>',
      'may write groups and organizations whose id starts so; repeat for more',
      repeatable(),
      [],
    )
    .action(async (input: string, { collection, prefix: prefixes }: ServiceFlags) => {
      const name = bare('service')(input)
      const answer = await admin.run('service_add', { name, collections: collection, prefixes })
      const groups = `, and groups and organizations whose id begins with ${prefixes.join(' or ')}`
      terminal.say(
        `The service ${name} may write to ${collection.join(', ') || 'no collection'}${prefixes.length === 0 ? '' : groups}.`,
      )
      const ended = [answer['collections_ended'], answer['prefixes_ended']].flat()
      if (ended.length > 0)
        terminal.say(
          `Note: no longer to ${ended.join(', ')}. What is named replaces what it had; name all of it.`,
        )
    })
  addList(services, { admin, terminal }, 'service', {
    description: 'Prints every service and where it may write.',
    whenEmpty: 'No services.',
  })
  services
    .command('remove <name>')
    .description('Takes away its rights and its clients; what it brought in stays.')
    .action(async (input: string) => {
      const name = bare('service')(input)
      await admin.run('service_remove', { name })
      terminal.say(`The service ${name} is gone.`)
    })

  const hosts = program
    .command('host')
    .description('Works on hosts whose unregistered programs may not come.')
  hosts
    .command('disable <host>')
    .description(
      'No program of this host, or of a name below it, comes any more; those that came are disabled.',
    )
    .action(async (input: string) => {
      const { agents, host } = await admin.run('host_disable', { host: input })
      const disabled = Array.isArray(agents) ? agents.length : 0
      terminal.say(`The host ${host} is disabled, and ${pluralize(disabled, 'agent')} that came from it.`)
    })
  hosts
    .command('enable <host>')
    .description('Its programs may come again. Agents that came from it stay disabled.')
    .action(async (host: string) => {
      await admin.run('host_enable', { host })
      terminal.say(`The host ${host} is enabled. Its agents: npm run remit -- agent enable`)
    })
  addList(hosts, { admin, terminal }, 'host', {
    description: 'Prints every host that is disabled.',
    whenEmpty: 'No hosts.',
  })
}

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

interface ResourceFlags {
  readonly scope: string[]
  readonly detailsType: string[]
  readonly allow: string[]
  readonly accept: string[]
  readonly verification: boolean
  readonly anyClient: boolean
  readonly owner?: string
}

/** Commands for the APIs of others that tokens can be for. */
export function addResourceCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const resource = program.command('resource').description('Works on the APIs that tokens can be for.')
  resource
    .command('add <url>')
    .description('Registers another’s API, or gives it exactly these properties.')
    .addOption(
      new Option('--scope <scope>', 'what tokens for it may hold; repeat for more')
        .argParser(repeatable())
        .makeOptionMandatory(),
    )
    .option('--details-type <type>', 'type of authorization_details that it knows; repeat', repeatable(), [])
    .option(
      '--allow <client>',
      'may have tokens for it, by exchange as well; repeat for more',
      repeatable(),
      [],
    )
    .option('--any-client', 'every client of a person or an agent may ask people for it', false)
    .option(
      '--accept <words>',
      '"URL SCOPE=SCOPE": what a scope of another API counts as here, by exchange; repeat',
      repeatable(),
      [],
    )
    .option('--no-verification', 'what people agree to for it takes no passkey of theirs')
    .option('--owner <client>', 'its own client, which may ask about tokens and pass them on')
    .action(async (url: string, flags: ResourceFlags) => {
      const { scope, detailsType, allow, anyClient, accept, verification, owner } = flags
      if (anyClient === allow.length > 0)
        throw new Error('Name its clients with --allow, or say --any-client.')
      await admin.run('resource_add', {
        resource: url,
        scopes: scope,
        authorization_details_types: detailsType,
        ...(!anyClient && { allowed_clients: allow }),
        accepts: acceptsIn(accept),
        takes_verification: verification,
        ...(owner !== undefined && { owner_client: owner }),
      })
      terminal.say(`Tokens can be for ${url} from now on.`)
    })
  addList(resource, { admin, terminal }, 'resource', {
    description: 'Prints Remit’s own APIs and every other.',
    whenEmpty: 'No APIs.',
    json: 'one line of JSON each; allowed_clients null: any',
  })
  resource
    .command('remove <url>')
    .description('No token is made for it from now on; those that were end within 300 s.')
    .action(async (url: string) => {
      await admin.run('resource_remove', { resource: url })
      terminal.say(`No token is made for ${url} any more.`)
    })
}

/** `https://orders.example read=orders.read`, several of them. */
function acceptsIn(lines: readonly string[]): Record<string, Record<string, string>> {
  const accepts: Record<string, Record<string, string>> = {}
  for (const line of lines) {
    const [, api, sourceScope, targetScope] = /^(\S+) ([^\s=]+)=([^\s=]+)$/.exec(line) ?? []
    if (api === undefined || sourceScope === undefined || targetScope === undefined)
      throw new Error(`--accept is "URL SCOPE=SCOPE", not "${line}".`)
    accepts[api] = { ...accepts[api], [sourceScope]: targetScope }
  }
  return accepts
}
