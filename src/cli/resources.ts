import { type Command, Option } from 'commander'
import type { AdminClient } from './admin-client.ts'
import { each } from './ids.ts'
import { printList } from './listing.ts'
import type { Terminal } from './terminal.ts'

interface ResourceFlags {
  readonly scope: string[]
  readonly detailsType: string[]
  readonly allow: string[]
  readonly anyClient: boolean
  readonly owner?: string
}

/** Commands for the APIs of others that tokens can be for. */
export function addResourceCommands(
  program: Command,
  { admin, terminal }: { readonly admin: AdminClient; readonly terminal: Terminal },
): void {
  const resource = program.command('resource').description('Works on the APIs that tokens can be for.')
  resource
    .command('add <url>')
    .description('Registers another’s API, or gives it exactly these properties.')
    .addOption(
      new Option('--scope <scope>', 'what tokens for it may hold; repeat for more')
        .argParser(each())
        .makeOptionMandatory(),
    )
    .option('--details-type <type>', 'type of authorization_details that it knows; repeat', each(), [])
    .option('--allow <client>', 'may have tokens for it, by exchange as well; repeat for more', each(), [])
    .option('--any-client', 'every client of a person or an agent may ask people for it', false)
    .option('--owner <client>', 'its own client, which may ask about tokens and pass them on')
    .action(async (url: string, { scope, detailsType, allow, anyClient, owner }: ResourceFlags) => {
      if (anyClient === allow.length > 0)
        throw new Error('Name its clients with --allow, or say --any-client.')
      await admin.run('resource_add', {
        resource: url,
        scopes: scope,
        authorization_details_types: detailsType,
        ...(!anyClient && { allowed_clients: allow }),
        ...(owner !== undefined && { owner_client: owner }),
      })
      terminal.say(`Tokens can be for ${url} from now on.`)
    })
  resource
    .command('list')
    .description('Prints Remit’s own APIs and every other.')
    .option('--json', 'one line of JSON each; allowed_clients null: any', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const { resources } = await admin.run('resource_list', {})
      printList(terminal, resources, { json, none: 'No APIs.', name: 'resource' })
    })
  resource
    .command('remove <url>')
    .description('No token is made for it from now on; those that were end within 300 s.')
    .action(async (url: string) => {
      await admin.run('resource_remove', { resource: url })
      terminal.say(`No token is made for ${url} any more.`)
    })
}
