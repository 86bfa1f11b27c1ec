import type { Command } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { bare, repeatable } from './ids.ts'
import { addList, type MachineDeps } from './listing.ts'

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
